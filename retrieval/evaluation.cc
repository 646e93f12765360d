#include "retrieval/evaluation.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "retrieval/json_reader.h"

namespace blazon::retrieval {
namespace {

constexpr size_t kGainRanks = 10, kRecallRanks = 100;

double Discounted(const std::vector<double>& gains) {
  double sum = 0;
  for (size_t i = 0; i < std::min(gains.size(), kGainRanks); ++i)
    sum += gains[i] / std::log2(static_cast<double>(i) + 2);
  return sum;
}

std::vector<RankedDocument> InOrder(std::vector<RankedDocument> ranking) {
  std::sort(ranking.begin(), ranking.end(), [](const RankedDocument& a, const RankedDocument& b) {
    return a.score > b.score || (a.score == b.score && a.document > b.document);
  });
  return ranking;
}

absl::Status BadLine(const char* what, size_t line, const std::string& why) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, " of the ", what, " ", why));
}

// The lines with something on them, and their numbers.
std::vector<std::pair<size_t, std::string>> Lines(std::string_view text) {
  std::vector<std::pair<size_t, std::string>> lines;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty()) lines.emplace_back(number, std::string(line));
  }
  return lines;
}

}  // namespace

RankingMeasures Evaluate(const Rankings& run, const Judgements& judgements) {
  RankingMeasures sums;
  for (const auto& [query, documents] : judgements) {
    std::vector<double> ideal;
    for (const auto& [document, relevance] : documents) {
      if (relevance > 0) ideal.push_back(static_cast<double>(relevance));
    }
    if (ideal.empty()) continue;
    ++sums.queries;
    const auto found = run.find(query);
    if (found == run.end()) continue;
    std::sort(ideal.rbegin(), ideal.rend());
    std::vector<double> gains;
    size_t relevant = 0, first = 0;
    const std::vector<RankedDocument> ranking = InOrder(found->second);
    for (size_t i = 0; i < ranking.size(); ++i) {
      const auto judged = documents.find(ranking[i].document);
      const bool is_relevant = judged != documents.end() && judged->second > 0;
      gains.push_back(is_relevant ? static_cast<double>(judged->second) : 0);
      if (is_relevant && first == 0) first = i + 1;
      relevant += is_relevant && i < kRecallRanks;
    }
    sums.ndcg_at_10 += Discounted(gains) / Discounted(ideal);
    sums.recall_at_100 += static_cast<double>(relevant) / static_cast<double>(ideal.size());
    if (first > 0) sums.reciprocal_rank += 1 / static_cast<double>(first);
  }
  if (sums.queries > 0) {
    for (double* sum : {&sums.ndcg_at_10, &sums.recall_at_100, &sums.reciprocal_rank})
      *sum /= static_cast<double>(sums.queries);
  }
  return sums;
}

absl::StatusOr<Judgements> ParseJudgements(std::string_view text) {
  Judgements judgements;
  bool first = true;
  for (const auto& [number, line] : Lines(text)) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::ByAnyChar("\t "), absl::SkipEmpty());
    const bool begins = std::exchange(first, false);
    if (fields.size() != 3 && fields.size() != 4)
      return BadLine("judgements", number, "has neither 'query document relevance' nor 'query 0 document relevance'");
    int64_t relevance = 0;
    if (!absl::SimpleAtoi(fields.back(), &relevance)) {
      if (begins && fields.size() == 3) continue;  // the names of the columns
      return BadLine("judgements", number,
                     absl::StrCat("ends with '", fields.back(), "', which is not a whole number"));
    }
    if (!judgements[fields[0]].emplace(fields[fields.size() - 2], relevance).second)
      return BadLine("judgements", number, "judges a document again");
  }
  if (judgements.empty()) return absl::InvalidArgumentError("there are no judgements");
  return judgements;
}

absl::StatusOr<std::vector<EvaluationQuery>> ParseQueries(std::string_view text) {
  std::vector<EvaluationQuery> queries;
  std::set<std::string> ids;
  for (const auto& [number, line] : Lines(text)) {
    EvaluationQuery query;
    if (line.front() == '{') {
      const absl::Status status = ReadJson(line, 64, number, [&](const JsonPath& path, const JsonScalar& scalar) {
        if (path.size() != 1) return;
        if (path[0] == "_id" || path[0] == "id") query.id = scalar.text;
        if (path[0] == "text") query.text = scalar.text;
      });
      if (!status.ok()) return BadLine("queries", number, absl::StrCat("is not JSON: ", status.message()));
      if (query.id.empty() || query.text.empty()) return BadLine("queries", number, "lacks \"_id\" or \"text\"");
    } else {
      const size_t tab = line.find('\t');
      if (tab == std::string::npos || tab == 0 || tab + 1 == line.size())
        return BadLine("queries", number, "is neither an object nor 'id<TAB>text'");
      query = {line.substr(0, tab), line.substr(tab + 1)};
    }
    if (!ids.insert(query.id).second) return BadLine("queries", number, absl::StrCat("repeats the id ", query.id));
    queries.push_back(std::move(query));
  }
  if (queries.empty()) return absl::InvalidArgumentError("there are no queries");
  return queries;
}

std::string FormatRankings(const Rankings& run, std::string_view tag) {
  std::string text;
  for (const auto& [query, ranking] : run) {
    int64_t rank = 0;
    for (const RankedDocument& entry : InOrder(ranking)) {
      absl::StrAppendFormat(&text, "%s Q0 %s %d %.9g %s\n", query, entry.document, ++rank, entry.score, tag);
    }
  }
  return text;
}

}  // namespace blazon::retrieval
