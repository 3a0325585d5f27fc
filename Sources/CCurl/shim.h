// libcurl. curl_easy_setopt and its kin are variadic, which Swift cannot call: one typed
// wrapper for each argument type.
#pragma once
#include <curl/curl.h>
