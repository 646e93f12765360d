// An auxiliary function for FTS5: word_coverage(table) is the share of the query's phrases that the row contains, each
// phrase weighted by its rarity (inverse document frequency as in BM25; Robertson and Zaragoza 2009), in [0, 1]. A word
// that no row contains weighs most.
#pragma once

#include "absl/status/status.h"
#include "retrieval/sqlite.h"

namespace blazon::retrieval {

absl::Status RegisterWordCoverage(Database& database);

}  // namespace blazon::retrieval
