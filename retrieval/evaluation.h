// How good rankings are, against what people found relevant: the measures of trec_eval, with its definitions.
//
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace blazon::retrieval {

struct RankedDocument {
  std::string document;
  double score = 0;
};
// By query: any order; equal scores are ranked by document, the greater name first, as trec_eval does.
using Rankings = std::map<std::string, std::vector<RankedDocument>>;
// By query, then document: how relevant it is; 0 and less is not.
using Judgements = std::map<std::string, std::map<std::string, int64_t>>;

struct RankingMeasures {
  int64_t queries = 0;
  double ndcg_at_10 = 0;       // gains as judged, discounted by log2(rank + 1) (Jarvelin and Kekalainen 2002)
  double recall_at_100 = 0;    // share of the relevant documents
  double reciprocal_rank = 0;  // of the first relevant document; 0 when there is none
};
// Means over the queries that have a relevant document; one that the run lacks counts as 0 everywhere.
RankingMeasures Evaluate(const Rankings& run, const Judgements& judgements);

// "query 0 document relevance" a line (TREC), or "query<TAB>document<TAB>relevance" with a line of names before (BEIR).
// kInvalidArgument names the line.
absl::StatusOr<Judgements> ParseJudgements(std::string_view text);

struct EvaluationQuery {
  std::string id, text;
};
// JSON Lines with "_id" (or "id") and "text", or "id<TAB>text" a line. kInvalidArgument names the line.
absl::StatusOr<std::vector<EvaluationQuery>> ParseQueries(std::string_view text);

// "query Q0 document rank score tag" a line, best first, as trec_eval reads it. Names must have no white space.
std::string FormatRankings(const Rankings& run, std::string_view tag);

}  // namespace blazon::retrieval
