// blazon ask: answers a question from the documents of a collection.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/cli/answer_output.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/filter_options.h"
#include "service/cli/generation_options.h"
#include "service/cli/input.h"
#include "service/cli/session.h"

namespace blazon::service::cli {
namespace {

struct AskFlags {
  std::string question, collection;
  std::optional<int32_t> count, context_tokens;
  std::vector<std::filesystem::path> images;
  std::filesystem::path session;
  bool extractive = false, no_rewrite = false;
  std::optional<double> refuse_below;
  FilterFlags filter;
  GenerationFlags generation;
};

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
  for (const std::filesystem::path& image : flags.images) {
    absl::StatusOr<std::string> picture = ReadInput(image);
    if (!picture.ok()) return Fail(picture.status());
    request.add_images()->set_data(*std::move(picture));
  }
  v1::Chat chat;
  std::error_code error;
  if (!flags.session.empty() && std::filesystem::exists(flags.session, error)) {
    absl::StatusOr<v1::Chat> kept = ReadSession(flags.session);
    if (!kept.ok()) return Fail(kept.status());
    chat = *std::move(kept);
    *request.mutable_conversation() = ConversationOf(chat);
  }
  request.set_rewrite(!flags.no_rewrite);
  if (flags.refuse_below) request.set_refuse_below(*flags.refuse_below);
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::AskResponse> response =
      (*backend)->Ask(request, NoteAsked(request.question()), [&](std::string_view text) {
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
    PrintSupport(*response);
    PrintUnread(*response);
  }
  if (!flags.session.empty() && response->finish_reason() != v1::FINISH_REASON_CANCELLED) {
    *chat.add_messages() = MakeMessage(v1::ROLE_USER, request.question());
    *chat.add_messages() = MakeMessage(v1::ROLE_ASSISTANT, response->text());
    if (absl::Status status = WriteSession(flags.session, chat); !status.ok()) return Fail(status);
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
  command->add_option("--image", flags->images, "A picture that belongs to the question; up to four")
      ->type_name("FILE");
  command
      ->add_option("--session", flags->session,
                   "Go on with the conversation in this file, and keep it there after each answer")
      ->type_name("FILE");
  command->add_flag("--no-rewrite", flags->no_rewrite,
                    "Search for the question as it is, not completed from the conversation");
  command->add_flag("--extractive", flags->extractive,
                    "Answer with the documents' own sentences; no text is generated");
  command->add_option("--count", flags->count, "Pieces of documents to look at, 1 to 50 (default 10)");
  command->add_option("--context-tokens", flags->context_tokens,
                      "Tokens of document text for the model at most, 16 to 4096 (default 256)");
  command->add_option(
      "--refuse-below", flags->refuse_below,
      "Refuse below this confidence, 0 to 1: more is refused of what has no answer, and of what has one "
      "(default: what 'index eval --keep' keeps with the collection, else 0.168, with --extractive 0.25)");
  AddFilterOptions(*command, flags->filter);
  AddGenerationOptions(*command, flags->generation);
  command->footer(
      R"(The supporting sentences are always shown, word for word, with the file and line they stand in; then, for each sentence
of the answer, where it is borne out and how far (0 to 1), or that nothing found bears it out. When nothing in the
documents fits, it says so and the exit status is 3. A question that goes on from earlier ones is completed from them,
and what a picture shows is put behind the question; what is then looked for is said.

Examples:
  blazon ask --collection ./notes "When does the library open?"
  blazon ask --collection ./notes --extractive "Who wrote the report?"
  blazon ask --collection ./notes --session talk.json "And on Sundays?"
  blazon ask --collection ./notes --image machine.jpg "How is this cleaned?"
  BLAZON_COLLECTION=./notes blazon ask --json "How heavy is the pump?")");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunAsk(*flags, context); }; });
}

}  // namespace blazon::service::cli
