// The loaders of the single formats. Each fills text, sections, places, regions, source_map, metadata, warnings and,
// when the document has one, title. On a limit they return kInvalidArgument with a message without the path.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "retrieval/document_loader.h"

namespace blazon::retrieval {

// These take `source`, valid UTF-8 without NUL, with '\n' at line ends.
absl::Status LoadMarkdown(std::string_view source, const LoaderLimits& limits, Document& document);
absl::Status LoadHtml(std::string_view source, const LoaderLimits& limits, Document& document);
absl::Status LoadTable(std::string_view source, const LoaderLimits& limits, Document& document);
absl::Status LoadJson(std::string_view source, bool lines, const LoaderOptions& options, Document& document);
absl::Status LoadSource(std::string_view source, std::string_view path, Document& document);

// These take the file's bytes and leave source_map to the caller.
absl::Status LoadEmail(std::string_view bytes, const LoaderOptions& options, Document& document);
absl::Status LoadPdf(std::string_view bytes, const LoaderOptions& options, Document& document);
absl::Status LoadDocx(std::string_view bytes, const LoaderLimits& limits, Document& document);
absl::Status LoadPptx(std::string_view bytes, const LoaderLimits& limits, Document& document);
absl::Status LoadXlsx(std::string_view bytes, const LoaderLimits& limits, Document& document);
absl::Status LoadOdt(std::string_view bytes, const LoaderLimits& limits, Document& document);
absl::Status LoadEpub(std::string_view bytes, const LoaderLimits& limits, Document& document);
absl::Status LoadImage(std::string_view bytes, const LoaderOptions& options, Document& document);

// The characters that an HTML entity ("&eacute;", "&#233;") stands for; the text itself when it is none.
std::string DecodeEntity(std::string_view entity);

}  // namespace blazon::retrieval
