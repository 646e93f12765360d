// What can still be read of a damaged collection database, carried over into a new one.
//
// Thread safety: one thread.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retrieval/collection.h"

namespace blazon::retrieval {

// Makes `to`, a new database, from what reads whole of `from`; chunks keep their ids and segment numbers, and the table
// of segments is left empty. A document whose text can be read and whose pieces cannot is cut again. `last_chunk_id`:
// ids up to it were used. Returns what was lost, in words. kDataLoss: `from` cannot be opened.
absl::StatusOr<std::vector<std::string>> SalvageDatabase(const std::filesystem::path& from,
                                                         const std::filesystem::path& to,
                                                         const CollectionOptions& options, int64_t last_chunk_id);

struct Corrections {
  int64_t bytes = 0;  // pages and frames that one byte, or bit, had damaged
  int64_t pages = 0;  // pages that were put in from the log
};

// Puts right every database page and every frame of the log that differs by one byte from what its checksum was made
// of, and puts in what the log holds of other damaged pages. What has worse damage stays as it is.
absl::StatusOr<Corrections> CorrectDatabase(const std::filesystem::path& database_file);

}  // namespace blazon::retrieval
