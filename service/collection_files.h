// A collection in files that other programs read and write: documents as JSON Lines, vectors as .npy.
//
// documents.jsonl has a line for each document (service/document_line.h).
// Row i of vectors.npy belongs to chunk i, counted through all documents. collection.json says how many there are of
// each, and of which embedder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retrieval/collection.h"

namespace blazon::service {

// Makes `folder`, which must not exist, with documents.jsonl, vectors.npy and collection.json; the last one is written
// last. Durable when it returns; after an error nothing is left. kAlreadyExists; what Collection::Export says.
absl::StatusOr<retrieval::ExportedTotals> ExportCollection(const retrieval::Collection& collection,
                                                           const std::filesystem::path& folder);

struct ImportOptions {
  std::filesystem::path documents;  // JSON Lines
  std::filesystem::path vectors;    // .npy; empty: none, or in the lines
  // What the vectors come from: a fingerprint, or retrieval::GivenEmbedder(name). Needed with vectors.
  std::string embedder;
  retrieval::IndexKind index = retrieval::IndexKind::kAuto;  // of an export: what its collection was asked for
  bool without_vectors = false;  // chunks alone are taken; the collection's embedder makes their vectors
  // After each group of documents that is durable; false stops.
  std::function<bool(int64_t documents, int64_t of)> progress;
};

// For a folder that ExportCollection made. kInvalidArgument: it is none.
absl::StatusOr<ImportOptions> ExportedFiles(const std::filesystem::path& folder);

struct ImportReport {
  int64_t added = 0, replaced = 0, unchanged = 0, chunks = 0;
  bool stopped = false;
};

// Reads all lines and the header of the vectors, and says how many documents there are. kInvalidArgument: a line, which
// is named, is not as it must be, a document stands there twice, or the numbers of chunks and vectors differ.
absl::StatusOr<int64_t> CheckImport(const ImportOptions& options);

// Puts the documents into the collection, which must be open for writing. `documents`: what CheckImport said; where it
// found nothing wrong, only chunks or vectors that do not fit their document or the collection can end the import, at
// the line that is named: what came before stays, and importing again goes on from there. Memory: some documents, and
// the collection's vectors where it has documents of the same names.
absl::StatusOr<ImportReport> ImportCollection(retrieval::Collection& collection, const ImportOptions& options,
                                              int64_t documents);

}  // namespace blazon::service
