// Filled by the first files of DirectoryStore.
