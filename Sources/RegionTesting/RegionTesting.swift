// Filled by the first files of RegionTesting.
