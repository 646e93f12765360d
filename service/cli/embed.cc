// blazon embed: texts to unit vectors.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/input.h"

namespace blazon::service::cli {
namespace {

struct EmbedFlags {
  std::vector<std::string> texts;
  bool nul = false;
};

int RunEmbed(const EmbedFlags& flags, Context& context) {
  v1::EmbedRequest request;
  for (const std::string& text : flags.texts) {
    if (text != "-") {
      request.add_texts(text);
      continue;
    }
    absl::StatusOr<std::string> input = ReadInput("-");
    if (!input.ok()) return Fail(input.status());
    for (std::string& entry : SplitList(*input, flags.nul)) request.add_texts(std::move(entry));
  }
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::EmbedResponse> response = (*backend)->Embed(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
    return kDone;
  }
  for (const v1::Embedding& embedding : response->embeddings())
    std::cout << absl::StrJoin(embedding.values(), " ") << "\n";
  return kDone;
}

}  // namespace

void AddEmbed(CLI::App& app, Context& context) {
  auto flags = std::make_shared<EmbedFlags>();
  CLI::App* command = app.add_subcommand("embed", "Turn texts to vectors for search by meaning");
  command->add_option("text", flags->texts, "The texts; - reads more of them from standard input, one a line")
      ->required();
  command->add_flag("-0", flags->nul, "Texts on standard input end with a NUL character instead of a line break");
  command->footer(R"(Each vector has length 1, so the product of two of them is their cosine similarity.

Examples:
  blazon embed "a cat on a mat"
  blazon embed --json "first text" "second text"
  blazon embed - < sentences.txt)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunEmbed(*flags, context); }; });
}

}  // namespace blazon::service::cli
