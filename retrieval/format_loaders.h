// The loaders of the single formats. `source` is valid UTF-8 without NUL; each fills text, sections, source_map and,
// when the document has one, title. On a limit they return kInvalidArgument with a message without the path.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "retrieval/document_loader.h"

namespace blazon::retrieval {

absl::Status LoadMarkdown(std::string_view source, const LoaderLimits& limits, Document& document);
absl::Status LoadHtml(std::string_view source, const LoaderLimits& limits, Document& document);

// The characters that an HTML entity ("&eacute;", "&#233;") stands for; the text itself when it is none.
std::string DecodeEntity(std::string_view entity);

}  // namespace blazon::retrieval
