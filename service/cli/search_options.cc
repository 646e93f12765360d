#include "service/cli/search_options.h"

#include <algorithm>

namespace blazon::service::cli {
namespace {

constexpr int32_t kReranked = 50;

}  // namespace

void AddSearchOptions(CLI::App& command, SearchFlags& flags) {
  command.add_option("--mode", flags.mode, "Go by words, by meaning, or by both")
      ->check(CLI::IsMember({"both", "words", "meaning"}))
      ->capture_default_str();
  command
      .add_option("--fusion", flags.fusion,
                  "How a search by both joins them: the weighted sum of their scores, or by ranks alone")
      ->check(CLI::IsMember({"weighted", "ranks"}))
      ->capture_default_str();
  command.add_option("--word-weight", flags.word_weight, "What words count for in that sum, 0 to 1 (default 0.5)");
  AddFilterOptions(command, flags.filter);
}

absl::Status ToRequest(const SearchFlags& flags, v1::SearchRequest& request) {
  request.set_mode(flags.mode == "words"     ? v1::SEARCH_MODE_LEXICAL
                   : flags.mode == "meaning" ? v1::SEARCH_MODE_VECTOR
                                             : v1::SEARCH_MODE_HYBRID);
  if (flags.fusion == "ranks") request.set_fusion(v1::FUSION_RECIPROCAL_RANK);
  if (flags.word_weight) request.set_word_weight(*flags.word_weight);
  absl::StatusOr<v1::Filter> filter = ToFilter(flags.filter);
  if (!filter.ok()) return filter.status();
  *request.mutable_filter() = *std::move(filter);
  return absl::OkStatus();
}

void AddRerankOptions(CLI::App& command, SearchFlags& flags, Context& context) {
  command
      .add_option("--reranker", context.reranker,
                  "A cross-encoder, the folder of a BertForSequenceClassification of one label: it reads the query "
                  "beside each of the best pieces and orders them anew. A server has its own")
      ->type_name("DIR");
  command
      .add_option("--rerank", flags.rerank,
                  "Pieces that it reads, at least as many as are shown (default 50 with --reranker)")
      ->check(CLI::Range(1, 1000));
}

void SetRerank(const SearchFlags& flags, const Context& context, v1::SearchRequest& request) {
  if (flags.rerank) {
    request.set_rerank(*flags.rerank);
  } else if (!context.reranker.empty()) {
    request.set_rerank(std::max(kReranked, request.count()));
  }
}

}  // namespace blazon::service::cli
