// blazon ask: answers a question from the documents of a collection.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/filter_options.h"
#include "service/cli/generation_options.h"
#include "service/cli/input.h"

namespace blazon::service::cli {
namespace {

struct AskFlags {
  std::string question, collection;
  std::optional<int32_t> count, context_tokens;
  bool extractive = false;
  FilterFlags filter;
  GenerationFlags generation;
};

// The supporting sentences, word for word, under where they stand.
void PrintSentences(const v1::AskResponse& response) {
  if (response.sentences_size() == 0) return;
  std::cout << "\nFrom:\n";
  for (const v1::SupportingSentence& sentence : response.sentences()) {
    const v1::ScoredChunk& source = response.sources(sentence.source());
    std::cout << "  " << Citation(source, sentence.line()) << "\n    " << sentence.text() << "\n";
  }
}

int RunAsk(const AskFlags& flags, Context& context) {
  v1::AskRequest request;
  absl::StatusOr<v1::GenerationOptions> options = ToOptions(flags.generation, context);
  if (!options.ok()) return Fail(options.status(), kWrongUsage);
  *request.mutable_options() = *std::move(options);
  absl::StatusOr<std::string> question = TextOrInput(flags.question);
  if (!question.ok()) return Fail(question.status());
  request.set_question(*std::move(question));
  request.set_collection(flags.collection);
  request.set_extractive(flags.extractive);
  absl::StatusOr<v1::Filter> filter = ToFilter(flags.filter);
  if (!filter.ok()) return Fail(filter.status(), kWrongUsage);
  *request.mutable_filter() = *std::move(filter);
  if (flags.count) request.set_count(*flags.count);
  if (flags.context_tokens) request.set_context_tokens(*flags.context_tokens);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::AskResponse> response = (*backend)->Ask(request, nullptr, [&](std::string_view text) {
    if (!context.json) std::cout << text << std::flush;
  });
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
  } else {
    std::cout << "\n";
    if (response->outcome() == v1::ANSWER_OUTCOME_LOW_CONFIDENCE) {
      std::cout << "(The documents hardly bear this out; read the sentences below.)\n";
    }
    PrintSentences(*response);
  }
  return response->outcome() == v1::ANSWER_OUTCOME_NO_ANSWER ? kNoMatch : kDone;
}

}  // namespace

void AddAsk(CLI::App& app, Context& context) {
  auto flags = std::make_shared<AskFlags>();
  CLI::App* command = app.add_subcommand("ask", "Answer a question from indexed documents, with sources");
  command->add_option("question", flags->question, "The question; - reads standard input")->required();
  command
      ->add_option("--collection", flags->collection,
                   "The collection: a folder made by 'blazon index add', or a name on the server")
      ->type_name("DIR")
      ->required();
  command->add_flag("--extractive", flags->extractive,
                    "Answer with the documents' own sentences; no text is generated");
  command->add_option("--count", flags->count, "Pieces of documents to look at, 1 to 50 (default 10)");
  command->add_option("--context-tokens", flags->context_tokens,
                      "Tokens of document text for the model at most, 16 to 4096 (default 256)");
  AddFilterOptions(*command, flags->filter);
  AddGenerationOptions(*command, flags->generation);
  command->footer(
      R"(The supporting sentences are always shown, word for word, with the file and line they stand in. When nothing in the
documents fits, it says so and the exit status is 3.

Examples:
  blazon ask --collection ./notes "When does the library open?"
  blazon ask --collection ./notes --extractive "Who wrote the report?"
  BLAZON_COLLECTION=./notes blazon ask --json "How heavy is the pump?")");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunAsk(*flags, context); }; });
}

}  // namespace blazon::service::cli
