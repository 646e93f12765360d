// Files to documents: plain text, Markdown (CommonMark with tables, by md4c) and HTML (by gumbo).
//
// Encoding: a byte-order mark decides (UTF-8, UTF-16); without one, strict UTF-8; what is not UTF-8 is read as the HTML
// page declares, or as windows-1252 when it holds no control characters; Document::encoding says which. Everything else
// is refused.
// Thread safety: all functions may run together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "retrieval/document.h"

namespace blazon::retrieval {

enum class DocumentFormat { kText, kMarkdown, kHtml };

struct LoaderLimits {
  size_t max_bytes = 32u << 20;  // of the file
  int max_nesting = 512;         // open elements, lists and quotes; documents written by people stay under 50
};

// By the name's ending: .txt .text .log .rst .org .adoc .csv .tsv (text), .md .markdown (Markdown), .html .htm .xhtml
// (HTML). kUnimplemented, with the list of endings, for any other.
absl::StatusOr<DocumentFormat> FormatFromPath(const std::filesystem::path& path);

// Reads `bytes`. `path` becomes Document::path and names the document in errors; Document::source is left empty.
// kInvalidArgument: empty, binary, badly encoded, too large or nested too deep; the message names path and limit.
absl::StatusOr<Document> LoadDocument(DocumentFormat format, std::string_view bytes, std::string_view path,
                                      const LoaderLimits& limits = {});

// Reads a whole file, at most limits.max_bytes. kNotFound, kPermissionDenied, kInvalidArgument (not a file, too large).
absl::StatusOr<std::string> ReadDocumentFile(const std::filesystem::path& file, const LoaderLimits& limits = {});

// Name and version of the loader of a format. Changing what a loader reads raises its version, and documents are read
// again.
std::string_view ParserVersion(DocumentFormat format);

// SHA-256, lower-case hex.
std::string ContentDigest(std::string_view bytes);

}  // namespace blazon::retrieval
