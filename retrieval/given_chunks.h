// The pieces of a document as a collection keeps them: cut by the chunker, or those that the document brings with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retrieval/chunker.h"
#include "retrieval/document.h"
#include "retrieval/embedder.h"

namespace blazon::retrieval {

inline constexpr int64_t kMaxDimension = 16384;

// In order, with everything set. Of a document with given chunks it checks these: kInvalidArgument names the chunk, by
// its number from 0, and what is wrong with it. `embedder` may be empty when the document has vectors.
absl::StatusOr<std::vector<GivenChunk>> PiecesOf(const Document& document, const Embedder& embedder,
                                                 const ChunkerOptions& options);

// The given vectors, each of L2 norm 1; rows that are so already are not touched. kInvalidArgument: their number does
// not fit that of the chunks, one is not finite or all zeros, or their embedder has no name.
absl::StatusOr<std::vector<float>> UnitVectors(const Document& document);

// OK when the document's vectors, or for one without those that `embedder` would make, may stand beside vectors of
// `kept`, a collection's fingerprint, empty before its first vector. kFailedPrecondition: another embedder's;
// kInvalidArgument: another dimension.
absl::Status CheckEmbedder(const Document& document, const Embedder& embedder, const std::string& kept,
                           int64_t dimension);

// What documents.chunker says of a document.
std::string ChunkerOf(const Document& document, const ChunkerOptions& options);

}  // namespace blazon::retrieval
