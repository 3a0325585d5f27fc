// Filled by the first files of CurlKit.
