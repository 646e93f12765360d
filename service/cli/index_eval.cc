// blazon index eval: how well a collection's searches find what people found relevant.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "retrieval/evaluation.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/input.h"
#include "service/cli/progress.h"
#include "service/cli/search_options.h"

namespace blazon::service::cli {
namespace {

constexpr int kRankedDocuments = 100;

struct EvalFlags {
  std::string collection, queries, judgements, run;
  SearchFlags search;
};

// How the judgements may call a document, what they do call it coming first.
std::string NameOf(const v1::ScoredChunk& chunk, const std::set<std::string>& known) {
  const std::string stem = std::filesystem::path(chunk.path()).stem().string();
  for (const std::string& name : {chunk.path(), stem, chunk.document_id()}) {
    if (known.contains(name)) return name;
  }
  return stem.find_first_of(" \t") == std::string::npos ? stem : chunk.document_id();
}

int RunEval(const EvalFlags& flags, Context& context) {
  const auto parse = [](const std::string& file, const auto& parser) -> decltype(parser("")) {
    absl::StatusOr<std::string> text = ReadInput(file);
    if (!text.ok()) return text.status();
    auto parsed = parser(*text);
    if (!parsed.ok()) return absl::Status(parsed.status().code(), absl::StrCat(file, ": ", parsed.status().message()));
    return parsed;
  };
  const auto queries = parse(flags.queries, [](const std::string& text) { return retrieval::ParseQueries(text); });
  if (!queries.ok()) return Fail(queries.status());
  const auto judgements =
      parse(flags.judgements, [](const std::string& text) { return retrieval::ParseJudgements(text); });
  if (!judgements.ok()) return Fail(judgements.status());
  std::set<std::string> known;
  for (const auto& [query, documents] : *judgements) {
    for (const auto& [document, relevance] : documents) known.insert(document);
  }
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());

  v1::SearchRequest request;
  if (absl::Status status = ToRequest(flags.search, request); !status.ok()) return Fail(status, kWrongUsage);
  request.set_collection(flags.collection);
  request.set_count(kRankedDocuments);
  request.set_max_per_document(1);
  SetRerank(flags.search, context, request);
  retrieval::Rankings rankings;
  {
    Progress progress("Searched");
    int64_t done = 0;
    for (const retrieval::EvaluationQuery& query : *queries) {
      if (!judgements->contains(query.id)) continue;  // such sets have queries for other judgements too
      request.set_query(query.text);
      absl::StatusOr<v1::SearchResponse> response = (*backend)->Search(request);
      if (!response.ok()) {
        return Fail(absl::Status(response.status().code(),
                                 absl::StrCat("query ", query.id, ": ", response.status().message())));
      }
      std::vector<retrieval::RankedDocument>& ranking = rankings[query.id];
      for (const v1::ScoredChunk& chunk : response->results()) ranking.push_back({NameOf(chunk, known), chunk.score()});
      progress.Show(++done, static_cast<int64_t>(judgements->size()), query.id);
    }
  }
  if (!flags.run.empty()) {
    std::ofstream out(flags.run, std::ios::binary);
    out << retrieval::FormatRankings(rankings, "blazon");
    out.close();
    if (!out) return Fail(absl::InternalError(absl::StrCat("cannot write ", flags.run)));
  }
  const retrieval::RankingMeasures measures = retrieval::Evaluate(rankings, *judgements);
  if (context.json) {
    std::cout << nlohmann::json{{"queries", measures.queries},
                                {"ndcg_at_10", measures.ndcg_at_10},
                                {"recall_at_100", measures.recall_at_100},
                                {"reciprocal_rank", measures.reciprocal_rank}}
                     .dump()
              << std::endl;
  } else {
    std::cout << absl::StrFormat("nDCG@10     %.4f\nrecall@100  %.4f\nMRR         %.4f\nqueries     %d\n",
                                 measures.ndcg_at_10, measures.recall_at_100, measures.reciprocal_rank,
                                 measures.queries)
              << std::flush;
  }
  return measures.queries == 0 ? kNoMatch : kDone;
}

}  // namespace

void AddIndexEval(CLI::App& index, Context& context) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command = index.add_subcommand("eval", "Measure how well searches find what people found relevant");
  command->add_option("--collection", flags->collection, "The collection")->type_name("DIR")->required();
  command
      ->add_option("--queries", flags->queries, R"(JSON Lines with "_id" and "text", as BEIR has them, or id<TAB>text)")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--qrels", flags->judgements,
                   "What is relevant: query<TAB>document<TAB>relevance (BEIR), or query 0 document relevance (TREC)")
      ->type_name("FILE")
      ->required();
  command->add_option("--run", flags->run, "Also write the rankings, as trec_eval reads them")->type_name("FILE");
  AddSearchOptions(*command, flags->search);
  AddRerankOptions(*command, flags->search, context);
  command->footer(
      R"(Documents are called by their path, by its last part without the ending, or by their id. The 100 best documents of
each query are ranked, each by its best piece. The measures are trec_eval's: ndcg_cut_10, recall_100, recip_rank, means over
the queries that have something relevant.)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunEval(*flags, context); }; });
}

}  // namespace blazon::service::cli
