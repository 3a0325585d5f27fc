// toml++ (C++17) behind a few C functions: Swift sees values, keys and lines, no templates.
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A parsed text, or why it could not be parsed.
typedef struct ctoml_document ctoml_document;

enum ctoml_kind { CTOML_STRING, CTOML_INTEGER, CTOML_BOOLEAN, CTOML_TABLE, CTOML_OTHER };

/// Parses `length` bytes of UTF-8. Free with `ctoml_free`. NULL only if there is no memory.
ctoml_document *_Nullable ctoml_parse(const char *_Nonnull text, size_t length);
void ctoml_free(ctoml_document *_Nonnull document);

/// Why it is no TOML; NULL if it is.
const char *_Nullable ctoml_error(const ctoml_document *_Nonnull document);
/// Line of that error, from 1.
size_t ctoml_error_line(const ctoml_document *_Nonnull document);

/// Values and tables, in the order of their keys; each table before what is in it.
size_t ctoml_count(const ctoml_document *_Nonnull document);
enum ctoml_kind ctoml_kind_of(const ctoml_document *_Nonnull document, size_t at);
size_t ctoml_depth(const ctoml_document *_Nonnull document, size_t at);
const char *_Nonnull ctoml_key(const ctoml_document *_Nonnull document, size_t at, size_t level);
/// The value as text; empty for tables and other kinds.
const char *_Nonnull ctoml_value(const ctoml_document *_Nonnull document, size_t at);
size_t ctoml_line(const ctoml_document *_Nonnull document, size_t at);

#ifdef __cplusplus
}
#endif
