#include "retrieval/given_chunks.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "retrieval/words.h"

namespace blazon::retrieval {
namespace {

constexpr double kUnitTolerance = 1e-5;  // of the squared norm: what fp32 rounding leaves

absl::Status WrongChunk(const Document& document, size_t number, const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat("document ", absl::CHexEscape(document.path), ": chunk ", number, " ", what));
}

bool IsInsideCharacter(const std::string& text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80;
}

bool IsText(const std::string& text) { return IsValidUtf8(text) && text.find('\0') == std::string::npos; }

absl::Status CheckChunk(const Document& document, size_t number, size_t previous_begin) {
  const GivenChunk& chunk = document.given->chunks[number];
  const std::string span = absl::StrCat("[", chunk.span.begin, ", ", chunk.span.end, ")");
  if (chunk.span.begin >= chunk.span.end) return WrongChunk(document, number, absl::StrCat("is empty: ", span));
  if (chunk.span.end > document.text.size()) {
    return WrongChunk(document, number,
                      absl::StrCat("spans ", span, "; the text that was read has ", document.text.size(), " bytes"));
  }
  if (IsInsideCharacter(document.text, chunk.span.begin) || IsInsideCharacter(document.text, chunk.span.end)) {
    return WrongChunk(document, number,
                      absl::StrCat("spans ", span, ", which cuts a character; spans count bytes of UTF-8"));
  }
  if (chunk.span.begin < previous_begin) {
    return WrongChunk(document, number,
                      absl::StrCat("begins at ", chunk.span.begin, ", before the one that precedes it (",
                                   previous_begin, "); give them in the order of the text"));
  }
  if (!IsText(chunk.heading_path) || !IsText(chunk.place) || !IsText(chunk.prefix.value_or("")))
    return WrongChunk(document, number, "has headings, a place or a prefix that is not UTF-8 without NUL");
  if (chunk.line < 0) return WrongChunk(document, number, absl::StrCat("has line ", chunk.line));
  return absl::OkStatus();
}

// Of a document that has vectors.
absl::StatusOr<size_t> GivenDimension(const Document& document) {
  const GivenChunks& given = *document.given;
  const std::string name = absl::StrCat("document ", absl::CHexEscape(document.path), ": ");
  if (given.embedder.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, "has vectors, and nothing says which embedder they come from"));
  }
  const size_t rows = given.chunks.size();
  if (rows == 0 || given.vectors.size() % rows != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, rows, " chunks and ", given.vectors.size(),
                     " numbers in vectors; each chunk needs one vector of one dimension"));
  }
  const size_t dimension = given.vectors.size() / rows;
  if (dimension > static_cast<size_t>(kMaxDimension)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, "vectors of ", dimension, " dimensions; at most ", kMaxDimension, " are allowed"));
  }
  return dimension;
}

}  // namespace

absl::StatusOr<std::vector<GivenChunk>> PiecesOf(const Document& document, const Embedder& embedder,
                                                 const ChunkerOptions& options) {
  std::vector<GivenChunk> pieces;
  if (!document.given) {
    absl::StatusOr<std::vector<Chunk>> chunks = ChunkDocument(document, embedder, options);
    if (!chunks.ok()) return chunks.status();
    for (Chunk& chunk : *chunks) {
      GivenChunk& piece = pieces.emplace_back();
      piece.span = chunk.span;
      piece.heading_path = std::move(chunk.heading_path);
      piece.prefix = std::move(chunk.prefix);
    }
  } else {
    pieces = document.given->chunks;
  }
  const bool has_vectors = document.given && !document.given->vectors.empty();
  size_t previous_begin = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    GivenChunk& piece = pieces[i];
    if (document.given) {
      if (absl::Status status = CheckChunk(document, i, previous_begin); !status.ok()) return status;
      previous_begin = piece.span.begin;
      if (!piece.prefix && embedder.count_tokens) {
        piece.prefix = ChunkPrefix(document.title, piece.heading_path, embedder.max_tokens, embedder);
      } else if (!piece.prefix) {
        piece.prefix = absl::StrCat(document.title, document.title.empty() ? "" : "\n", piece.heading_path,
                                    piece.heading_path.empty() ? "" : "\n");
      }
      if (!has_vectors) {
        const std::string text = *piece.prefix + document.text.substr(piece.span.begin, piece.span.size());
        if (const int64_t tokens = embedder.count_tokens(text); tokens > embedder.max_tokens) {
          return WrongChunk(document, i,
                            absl::StrCat("has ", tokens, " tokens with title and headings; the embedder reads at most ",
                                         embedder.max_tokens, ". Cut it smaller, or give its vector"));
        }
      }
    }
    if (piece.line == 0) piece.line = document.Line(piece.span.begin);
    if (piece.place.empty()) piece.place = document.PlaceAt(piece.span.begin);
    if (piece.box.empty()) piece.box = document.BoxOf(piece.span);
  }
  return pieces;
}

absl::StatusOr<std::vector<float>> UnitVectors(const Document& document) {
  if (!document.given || document.given->vectors.empty()) return std::vector<float>();
  const absl::StatusOr<size_t> known = GivenDimension(document);
  if (!known.ok()) return known.status();
  const size_t dimension = *known, rows = document.given->chunks.size();
  std::vector<float> vectors = document.given->vectors;
  for (size_t row = 0; row < rows; ++row) {
    float* vector = vectors.data() + row * dimension;
    const double square = std::inner_product(
        vector, vector + dimension, vector, 0.0, [](double sum, double term) { return sum + term; },
        [](float a, float b) { return static_cast<double>(a) * b; });
    if (!std::isfinite(square)) return WrongChunk(document, row, "has a vector with a number that is not finite");
    if (square == 0) return WrongChunk(document, row, "has a vector of zeros, which has no direction");
    if (std::abs(square - 1) <= kUnitTolerance) continue;
    const double scale = 1 / std::sqrt(square);
    for (size_t i = 0; i < dimension; ++i) vector[i] = static_cast<float>(vector[i] * scale);
  }
  return vectors;
}

absl::Status CheckEmbedder(const Document& document, const Embedder& embedder, const std::string& kept,
                           int64_t dimension) {
  if (document.given && document.given->chunks.empty()) return absl::OkStatus();
  const bool has_vectors = document.given && !document.given->vectors.empty();
  const std::string name = absl::StrCat("document ", absl::CHexEscape(document.path), ": ");
  if (!has_vectors) {
    if (!IsGivenEmbedder(kept)) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(name, "this collection's vectors come from ", kept,
                     ", which only callers have; give chunks with vectors of it, or use another collection"));
  }
  const absl::StatusOr<size_t> theirs_dimension = GivenDimension(document);
  if (!theirs_dimension.ok()) return theirs_dimension.status();
  const std::string& theirs = document.given->embedder;
  if (!kept.empty() && theirs != kept) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, "its vectors come from ", theirs, ", and the collection's from ", kept,
                     ": they cannot be compared. Leave the vectors out, or use another collection"));
  }
  if (kept.empty() && !IsGivenEmbedder(theirs) && theirs != embedder.fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, "its vectors come from ", theirs, ", which is not the embedder here (",
                     embedder.fingerprint.empty() ? "none" : embedder.fingerprint, "). Leave the vectors out"));
  }
  const int64_t wanted = dimension > 0 ? dimension : theirs == embedder.fingerprint ? embedder.dimension : 0;
  if (wanted > 0 && static_cast<int64_t>(*theirs_dimension) != wanted) {
    return absl::InvalidArgumentError(absl::StrCat(name, "its vectors have ", *theirs_dimension,
                                                   " dimensions; those of ", theirs, " have ", wanted, " here"));
  }
  return absl::OkStatus();
}

std::string ChunkerOf(const Document& document, const ChunkerOptions& options) {
  if (!document.given) return ChunkerVersion(options);
  return document.given->chunker.empty() ? "given/1" : document.given->chunker;
}

}  // namespace blazon::retrieval
