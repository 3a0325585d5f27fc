#include "CToml.h"

#include <new>
#include <string>
#include <string_view>
#include <vector>

#define TOML_HEADER_ONLY 1
// Some of its assertions fail on texts that are no TOML, and are then found to be errors.
#define TOML_ASSERT(expression) static_cast<void>(0)
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

struct ctoml_document {
    struct item {
        std::vector<std::string> keys;
        ctoml_kind kind;
        std::string value;
        size_t line;
    };
    std::vector<item> items;
    std::string error;
    size_t error_line = 0;
};

static void collect(
    ctoml_document &document, std::vector<std::string> &path, const toml::table &table) {
    for (auto &&[key, node] : table) {
        path.emplace_back(key.str());
        ctoml_document::item item{path, CTOML_OTHER, "", node.source().begin.line};
        if (auto text = node.as_string()) {
            item.kind = CTOML_STRING;
            item.value = text->get();
        } else if (auto number = node.as_integer()) {
            item.kind = CTOML_INTEGER;
            item.value = std::to_string(number->get());
        } else if (auto word = node.as_boolean()) {
            item.kind = CTOML_BOOLEAN;
            item.value = word->get() ? "true" : "false";
        } else if (node.is_table()) {
            item.kind = CTOML_TABLE;
        }
        document.items.push_back(item);
        if (auto inner = node.as_table()) collect(document, path, *inner);
        path.pop_back();
    }
}

ctoml_document *ctoml_parse(const char *text, size_t length) {
    auto document = new (std::nothrow) ctoml_document;
    if (!document) return nullptr;
    auto result = toml::parse(std::string_view(text, length));
    if (result) {
        std::vector<std::string> path;
        collect(*document, path, result.table());
    } else {
        document->error = result.error().description();
        document->error_line = result.error().source().begin.line;
    }
    return document;
}

void ctoml_free(ctoml_document *document) { delete document; }

const char *ctoml_error(const ctoml_document *document) {
    return document->error.empty() ? nullptr : document->error.c_str();
}

size_t ctoml_error_line(const ctoml_document *document) { return document->error_line; }
size_t ctoml_count(const ctoml_document *document) { return document->items.size(); }
ctoml_kind ctoml_kind_of(const ctoml_document *document, size_t at) {
    return document->items[at].kind;
}
size_t ctoml_depth(const ctoml_document *document, size_t at) {
    return document->items[at].keys.size();
}
const char *ctoml_key(const ctoml_document *document, size_t at, size_t level) {
    return document->items[at].keys[level].c_str();
}
const char *ctoml_value(const ctoml_document *document, size_t at) {
    return document->items[at].value.c_str();
}
size_t ctoml_line(const ctoml_document *document, size_t at) { return document->items[at].line; }
