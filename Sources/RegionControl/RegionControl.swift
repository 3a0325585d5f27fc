// Filled by the first files of RegionControl.
