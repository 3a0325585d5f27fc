// Filled by the first files of RegionFilesystem.
