// A document as a line of JSON Lines, and back.
//
// A line is an object. Of these keys "text" and one of "path" and "_id" (as BEIR's corpora call it) must be there, and
// no others may:
//   source, path, title, text, language (ISO 639-1), metadata (strings by name), parser, encoding, digest (SHA-256 of
//   what was parsed), chunker
//   chunks: a list of {begin, end, headings, prefix, line, place, box, vector}, in the order of the text. begin and end
//     count bytes of the text's UTF-8; box is [left, top, width, height]; vector is for files without vectors.npy.
//     Without "chunks" Blazon cuts the document.
//
// Thread safety: all functions may run together.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "retrieval/document.h"

namespace blazon::service {

// Ends with a line break; without vectors. `document` has chunks, with all of each set, as Collection::Export gives it.
// kFailedPrecondition: its metadata are not UTF-8, which JSON cannot hold.
absl::StatusOr<std::string> ToLine(const retrieval::Document& document);

// kInvalidArgument: what is wrong with the line. Its chunks are not yet compared with the text.
absl::StatusOr<retrieval::Document> ParseLine(const std::string& line);

}  // namespace blazon::service
