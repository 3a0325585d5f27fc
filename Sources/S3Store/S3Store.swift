// Filled by the first files of S3Store.
