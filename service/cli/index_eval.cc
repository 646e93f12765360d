// blazon index eval: how well a collection's searches find what people found relevant, and how well questions over it
// are answered and refused.
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
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "retrieval/evaluation.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/input.h"
#include "service/cli/progress.h"
#include "service/cli/search_options.h"
#include "service/evaluation/answer_measures.h"

namespace blazon::service::cli {
namespace {

constexpr int kRankedDocuments = 100;

struct EvalFlags {
  std::string collection, queries, judgements, run;
  std::string questions, answers;
  bool extractive = false, keep = false;
  double max_false_refusals = 0.05;
  std::optional<double> refuse_below;
  SearchFlags search;
};

// The file's text as `parser` has it; "-" is standard input.
template <typename Parser>
auto ParseFile(const std::string& file, const Parser& parser) -> decltype(parser("")) {
  absl::StatusOr<std::string> text = ReadInput(file);
  if (!text.ok()) return text.status();
  auto parsed = parser(*text);
  if (!parsed.ok()) return absl::Status(parsed.status().code(), absl::StrCat(file, ": ", parsed.status().message()));
  return parsed;
}

// How the judgements may call a document, what they do call it coming first.
std::string NameOf(const v1::ScoredChunk& chunk, const std::set<std::string>& known) {
  const std::string stem = std::filesystem::path(chunk.path()).stem().string();
  for (const std::string& name : {chunk.path(), stem, chunk.document_id()}) {
    if (known.contains(name)) return name;
  }
  return stem.find_first_of(" \t") == std::string::npos ? stem : chunk.document_id();
}

// How searches do. `out` gets the measures; queries is 0 when none of them has a judgement.
absl::Status MeasureSearches(const EvalFlags& flags, const Context& context, Backend& backend,
                             retrieval::RankingMeasures& out) {
  const auto queries = ParseFile(flags.queries, [](const std::string& text) { return retrieval::ParseQueries(text); });
  if (!queries.ok()) return queries.status();
  const auto judgements =
      ParseFile(flags.judgements, [](const std::string& text) { return retrieval::ParseJudgements(text); });
  if (!judgements.ok()) return judgements.status();
  std::set<std::string> known;
  for (const auto& [query, documents] : *judgements) {
    for (const auto& [document, relevance] : documents) known.insert(document);
  }
  v1::SearchRequest request;
  if (absl::Status status = ToRequest(flags.search, request); !status.ok()) return status;
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
      absl::StatusOr<v1::SearchResponse> response = backend.Search(request);
      if (!response.ok()) {
        return absl::Status(response.status().code(),
                            absl::StrCat("query ", query.id, ": ", response.status().message()));
      }
      std::vector<retrieval::RankedDocument>& ranking = rankings[query.id];
      for (const v1::ScoredChunk& chunk : response->results()) ranking.push_back({NameOf(chunk, known), chunk.score()});
      progress.Show(++done, static_cast<int64_t>(judgements->size()), query.id);
    }
  }
  if (!flags.run.empty()) {
    std::ofstream file(flags.run, std::ios::binary);
    file << retrieval::FormatRankings(rankings, "blazon");
    file.close();
    if (!file) return absl::InternalError(absl::StrCat("cannot write ", flags.run));
  }
  out = retrieval::Evaluate(rankings, *judgements);
  return absl::OkStatus();
}

// What a set of questions showed.
struct AnswersMeasured {
  std::vector<MeasuredAnswer> answers;
  double refuse_below = 0;                                  // the threshold without a flag
  int64_t citations = 0, citations_verbatim = 0;            // sentences cited; those that are the document's bytes
  std::map<std::string, int64_t> answerable, unanswerable;  // questions of each group
};

// Whether what an answer cites is, byte for byte, what the collection holds. `texts`: of documents by id, filled here.
absl::Status CheckCitations(const EvalFlags& flags, const v1::AskResponse& response, Backend& backend,
                            std::map<std::string, std::string>& texts, AnswersMeasured& out) {
  for (const v1::SupportingSentence& sentence : response.sentences()) {
    const std::string& id = response.sources(sentence.source()).document_id();
    if (!texts.contains(id)) {
      v1::GetDocumentRequest get;
      get.set_collection(flags.collection);
      get.set_id(id);
      absl::StatusOr<v1::GetDocumentResponse> document = backend.GetDocument(get);
      if (!document.ok()) return document.status();
      texts[id] = std::move(*document->mutable_text());
    }
    const std::string_view text = texts[id];
    ++out.citations;
    const auto begin = static_cast<size_t>(sentence.begin_byte()), end = static_cast<size_t>(sentence.end_byte());
    out.citations_verbatim += begin < end && end <= text.size() && text.substr(begin, end - begin) == sentence.text();
  }
  return absl::OkStatus();
}

// Asks every question with a threshold of 0, so that each has an answer and a confidence.
absl::Status MeasureAnswers(const EvalFlags& flags, Backend& backend, AnswersMeasured& out) {
  const auto questions =
      ParseFile(flags.questions, [](const std::string& text) { return ParseMeasuredQuestions(text); });
  if (!questions.ok()) return questions.status();
  std::ofstream file;
  if (!flags.answers.empty()) {
    file.open(flags.answers, std::ios::binary);
    if (!file) return absl::InternalError(absl::StrCat("cannot write ", flags.answers));
  }
  v1::AskRequest request;
  absl::StatusOr<v1::Filter> filter = ToFilter(flags.search.filter);
  if (!filter.ok()) return filter.status();
  *request.mutable_filter() = *std::move(filter);
  request.set_collection(flags.collection);
  request.set_extractive(flags.extractive);
  const auto ask = [&](const MeasuredQuestion& question) {
    request.set_question(question.question);
    absl::StatusOr<v1::AskResponse> response = backend.Ask(request, nullptr, [](std::string_view) {});
    if (response.ok()) return response;
    return absl::StatusOr<v1::AskResponse>(absl::Status(
        response.status().code(), absl::StrCat("question ", question.id, ": ", response.status().message())));
  };
  absl::StatusOr<v1::AskResponse> first = ask(questions->front());
  if (!first.ok()) return first.status();
  out.refuse_below = first->refuse_below();
  request.set_refuse_below(0);
  std::map<std::string, std::string> texts;
  Progress progress("Asked");
  for (const MeasuredQuestion& question : *questions) {
    absl::StatusOr<v1::AskResponse> response = ask(question);
    if (!response.ok()) return response.status();
    if (absl::Status status = CheckCitations(flags, *response, backend, texts, out); !status.ok()) return status;
    MeasuredAnswer answer{.group = question.group(),
                          .answerable = !question.expected.empty(),
                          .found = response->outcome() != v1::ANSWER_OUTCOME_NO_ANSWER,
                          .confidence = response->confidence()};
    answer.right = answer.found && IsRightAnswer(question, response->text());
    answer.cited = response->sources_size() > 0 && !question.document.empty() &&
                   NameOf(response->sources(0), {question.document}) == question.document &&
                   HoldsEvidence(question, response->sources(0).text());
    ++(answer.answerable ? out.answerable : out.unanswerable)[answer.group];
    if (file.is_open()) {
      file << nlohmann::json{{"id", question.id},
                             {"question", question.question},
                             {"expected", question.expected},
                             {"text", response->text()},
                             {"confidence", answer.confidence},
                             {"found", answer.found},
                             {"right", answer.right},
                             {"cited", answer.cited}}
                  .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
           << "\n";
    }
    out.answers.push_back(std::move(answer));
    progress.Show(static_cast<int64_t>(out.answers.size()), static_cast<int64_t>(questions->size()), question.id);
  }
  if (file.is_open()) {
    file.close();
    if (!file) return absl::InternalError(absl::StrCat("cannot write ", flags.answers));
  }
  return absl::OkStatus();
}

int64_t Total(const std::map<std::string, int64_t>& groups) {
  int64_t total = 0;
  for (const auto& [group, count] : groups) total += count;
  return total;
}

// Refused at a threshold, of the questions of one group that have no answer.
int64_t RefusedOf(const AnswersMeasured& measured, const std::string& group, double threshold) {
  std::vector<MeasuredAnswer> own;
  for (const MeasuredAnswer& answer : measured.answers) {
    if (answer.group == group) own.push_back(answer);
  }
  return MeasureThreshold(own, threshold).refused;
}

nlohmann::json ToJson(const AnswersMeasured& measured, const AbstentionPoint& point) {
  nlohmann::json result = {{"threshold", point.threshold},
                           {"right", point.right},
                           {"cited", point.cited},
                           {"false_refusals", point.false_refusals},
                           {"refused", point.refused}};
  for (const auto& [group, count] : measured.unanswerable)
    result["refused_of"][group] = RefusedOf(measured, group, point.threshold);
  return result;
}

// "7 of 144 (4.9 %, 95 times in 100 within 2.4 to 9.7)"
std::string Share(int64_t hits, int64_t count) {
  if (count == 0) return "0 of 0";
  const Interval interval = ShareInterval(hits, count);
  return absl::StrFormat("%d of %d (%.1f %%; 95 times in 100 it lies in %.1f to %.1f)", hits, count,
                         100.0 * static_cast<double>(hits) / static_cast<double>(count), 100 * interval.low,
                         100 * interval.high);
}

void PrintPoint(const AnswersMeasured& measured, double threshold, const std::string& what) {
  const AbstentionPoint point = MeasureThreshold(measured.answers, threshold);
  const int64_t answerable = Total(measured.answerable);
  std::cout << absl::StrFormat("\nRefusing below %.4f, %s:\n", threshold, what);
  if (answerable > 0) {
    std::cout << "  answered rightly    " << Share(point.right, answerable) << "\n  right source first  "
              << Share(point.cited, answerable) << "\n  refused wrongly     " << Share(point.false_refusals, answerable)
              << "\n";
  }
  for (const auto& [group, count] : measured.unanswerable) {
    std::cout << absl::StrFormat("  refused of %-8s ", absl::StrCat(group, ":"))
              << Share(RefusedOf(measured, group, threshold), count) << "\n";
  }
}

// Every twentieth, and where it is calibrated to.
void PrintCurve(const AnswersMeasured& measured, std::optional<double> calibrated) {
  std::set<double> thresholds;
  for (int i = 0; i <= 20; ++i) thresholds.insert(i / 20.0);
  if (calibrated.has_value()) thresholds.insert(*calibrated);
  std::cout << "refuse below  right  cited  refused wrongly  refused";
  for (const auto& [group, count] : measured.unanswerable) std::cout << absl::StrFormat("  %4s", group);
  std::cout << "\n";
  for (const double threshold : thresholds) {
    const AbstentionPoint point = MeasureThreshold(measured.answers, threshold);
    std::cout << absl::StrFormat("%12.4f  %5d  %5d  %15d  %7d", threshold, point.right, point.cited,
                                 point.false_refusals, point.refused);
    for (const auto& [group, count] : measured.unanswerable)
      std::cout << absl::StrFormat("  %4d", RefusedOf(measured, group, threshold));
    std::cout << "\n";
  }
  std::cout << absl::StrFormat("%12s  %5d  %5d  %15d  %7d", "of", Total(measured.answerable),
                               Total(measured.answerable), Total(measured.answerable), Total(measured.unanswerable));
  for (const auto& [group, count] : measured.unanswerable) std::cout << absl::StrFormat("  %4d", count);
  std::cout << "\n";
}

int RunEval(const EvalFlags& flags, Context& context) {
  if (flags.questions.empty() && (flags.queries.empty() || flags.judgements.empty()))
    return Fail(absl::InvalidArgumentError("give --queries and --qrels, to measure searches, or --questions"),
                kWrongUsage);
  if (flags.queries.empty() != flags.judgements.empty())
    return Fail(absl::InvalidArgumentError("--queries and --qrels go together"), kWrongUsage);
  if (flags.queries.empty() && !flags.run.empty())
    return Fail(absl::InvalidArgumentError("--run is for --queries"), kWrongUsage);
  if (flags.questions.empty() && (flags.keep || flags.extractive || !flags.answers.empty() || flags.refuse_below))
    return Fail(absl::InvalidArgumentError("--answers, --extractive, --refuse-below and --keep are for --questions"),
                kWrongUsage);
  if (flags.keep && flags.extractive) {
    return Fail(
        absl::InvalidArgumentError("--keep is for answers that the language model writes; with --extractive, give "
                                   "'ask' the threshold with --refuse-below"),
        kWrongUsage);
  }
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::SearchRequest checked;
  if (absl::Status status = ToRequest(flags.search, checked); !status.ok()) return Fail(status, kWrongUsage);
  nlohmann::json json = nlohmann::json::object();
  bool something = !flags.questions.empty();
  if (!flags.queries.empty()) {
    retrieval::RankingMeasures measures;
    if (absl::Status status = MeasureSearches(flags, context, **backend, measures); !status.ok()) return Fail(status);
    something |= measures.queries > 0;
    json = {{"queries", measures.queries},
            {"ndcg_at_10", measures.ndcg_at_10},
            {"recall_at_100", measures.recall_at_100},
            {"reciprocal_rank", measures.reciprocal_rank}};
    if (!context.json) {
      std::cout << absl::StrFormat("nDCG@10     %.4f\nrecall@100  %.4f\nMRR         %.4f\nqueries     %d\n",
                                   measures.ndcg_at_10, measures.recall_at_100, measures.reciprocal_rank,
                                   measures.queries)
                << std::flush;
    }
  }
  if (!flags.questions.empty()) {
    AnswersMeasured measured;
    if (absl::Status status = MeasureAnswers(flags, **backend, measured); !status.ok()) return Fail(status);
    std::optional<double> calibrated;
    if (!measured.answerable.empty()) {
      const absl::StatusOr<double> threshold = CalibrateThreshold(measured.answers, flags.max_false_refusals);
      if (!threshold.ok()) return Fail(threshold.status());
      calibrated = *threshold;
    } else if (flags.keep) {
      return Fail(CalibrateThreshold(measured.answers, flags.max_false_refusals).status());
    }
    const auto point = [&](double threshold) {
      return ToJson(measured, MeasureThreshold(measured.answers, threshold));
    };
    if (context.json) {
      nlohmann::json& answers = json["answers"];
      answers = {{"answerable", Total(measured.answerable)},
                 {"unanswerable", measured.unanswerable},
                 {"citations", measured.citations},
                 {"citations_verbatim", measured.citations_verbatim},
                 {"current", point(measured.refuse_below)}};
      if (flags.refuse_below) answers["given"] = point(*flags.refuse_below);
      if (calibrated) answers["calibrated"] = point(*calibrated);
      for (const AbstentionPoint& each : AbstentionCurve(measured.answers))
        answers["curve"].push_back(ToJson(measured, each));
    } else {
      PrintCurve(measured, calibrated);
      PrintPoint(measured, measured.refuse_below, "as it is now");
      if (flags.refuse_below) PrintPoint(measured, *flags.refuse_below, "as given");
      if (calibrated) {
        PrintPoint(
            measured, *calibrated,
            absl::StrFormat("which refuses the most at %.1f %% of false refusals", 100 * flags.max_false_refusals));
      }
      std::cout << absl::StrFormat("\n%d of %d sentences cited are the documents' bytes.\n",
                                   measured.citations_verbatim, measured.citations)
                << std::flush;
    }
    if (flags.keep) {
      v1::UpdateCollectionRequest update;
      update.set_collection(flags.collection);
      update.set_refuse_below(*calibrated);
      absl::StatusOr<v1::UpdateCollectionResponse> updated = (*backend)->UpdateCollection(update);
      if (!updated.ok()) return Fail(updated.status());
      if (!context.json)
        std::cout << absl::StrFormat("Kept with the collection: refuse below %.4f.\n", *calibrated) << std::flush;
    }
  }
  if (context.json) std::cout << json.dump() << std::endl;
  return something ? kDone : kNoMatch;
}

}  // namespace

void AddIndexEval(CLI::App& index, Context& context) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command =
      index.add_subcommand("eval", "Measure how well searches find what is relevant, and questions are answered");
  command->add_option("--collection", flags->collection, "The collection")->type_name("DIR")->required();
  command
      ->add_option("--queries", flags->queries, R"(JSON Lines with "_id" and "text", as BEIR has them, or id<TAB>text)")
      ->type_name("FILE");
  command
      ->add_option("--qrels", flags->judgements,
                   "What is relevant: query<TAB>document<TAB>relevance (BEIR), or query 0 document relevance (TREC)")
      ->type_name("FILE");
  command->add_option("--run", flags->run, "Also write the rankings, as trec_eval reads them")->type_name("FILE");
  command
      ->add_option(
          "--questions", flags->questions,
          "Ask these: id<TAB>question<TAB>expected[<TAB>document[<TAB>evidence]], expected strings with | between, "
          "- where the documents have no answer")
      ->type_name("FILE");
  command->add_option("--answers", flags->answers, "Also write each answer, as JSON Lines")->type_name("FILE");
  command->add_option("--max-false-refusals", flags->max_false_refusals,
                      "Find the threshold that refuses at most this share of what has an answer (default 0.05)");
  command->add_option("--refuse-below", flags->refuse_below, "Also tell what this threshold does, 0 to 1")
      ->check(CLI::Range(0.0, 1.0));
  command->add_flag("--extractive", flags->extractive, "Answer with the documents' own sentences");
  command->add_flag("--keep", flags->keep, "Keep the threshold that was found with the collection, for 'ask'");
  AddSearchOptions(*command, flags->search);
  AddRerankOptions(*command, flags->search, context);
  command->footer(
      R"(Documents are called by their path, by its last part without the ending, or by their id. The 100 best documents of
each query are ranked, each by its best piece. The measures are trec_eval's: ndcg_cut_10, recall_100, recip_rank, means over
the queries that have something relevant.

Questions are all answered, whatever the confidence, and then it is counted what each threshold would refuse. An answer is
right when it has at most 25 words and one of the expected strings in it; a source, when it is the named document's piece
with the evidence. Those without an answer are counted by the letters that their ids begin with.)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunEval(*flags, context); }; });
}

}  // namespace blazon::service::cli
