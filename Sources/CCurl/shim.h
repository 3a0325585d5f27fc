// libcurl. curl_easy_setopt, curl_easy_getinfo, curl_multi_setopt and prctl are variadic, which
// Swift cannot call: one typed wrapper for each argument type.
#pragma once
#include <curl/curl.h>
#include <sys/prctl.h>

typedef size_t (*curlkit_io_callback)(char *bytes, size_t size, size_t count, void *context);

static inline CURLcode curlkit_set_long(CURL *handle, CURLoption option, long value) {
  return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode curlkit_set_offset(CURL *handle, CURLoption option, curl_off_t value) {
  return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode curlkit_set_string(CURL *handle, CURLoption option, const char *value) {
  return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode curlkit_set_pointer(CURL *handle, CURLoption option, void *value) {
  return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode curlkit_set_list(CURL *handle, CURLoption option, struct curl_slist *value) {
  return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode curlkit_set_io(CURL *handle, CURLoption option, curlkit_io_callback value) {
  return (curl_easy_setopt)(handle, option, value);
}
static inline CURLcode curlkit_set_seek(CURL *handle, curl_seek_callback value) {
  return (curl_easy_setopt)(handle, CURLOPT_SEEKFUNCTION, value);
}
static inline CURLcode curlkit_set_socket_hook(CURL *handle, curl_sockopt_callback value) {
  return (curl_easy_setopt)(handle, CURLOPT_SOCKOPTFUNCTION, value);
}
static inline CURLcode curlkit_get_long(CURL *handle, CURLINFO info, long *value) {
  return (curl_easy_getinfo)(handle, info, value);
}
static inline CURLcode curlkit_get_offset(CURL *handle, CURLINFO info, curl_off_t *value) {
  return (curl_easy_getinfo)(handle, info, value);
}
static inline CURLMcode curlkit_multi_set_long(CURLM *multi, CURLMoption option, long value) {
  return (curl_multi_setopt)(multi, option, value);
}
// Names the calling thread, at most 15 bytes (prctl(2); pthread_setname_np needs _GNU_SOURCE).
static inline int curlkit_name_thread(const char *name) {
  return prctl(PR_SET_NAME, name, 0, 0, 0);
}
