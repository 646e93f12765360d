// blazon tokenize: text to the language model's tokens, and back.
#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/input.h"

namespace blazon::service::cli {
namespace {

struct TokenizeFlags {
  std::vector<std::string> text;
  bool decode = false;
};

int RunDecode(const TokenizeFlags& flags, Context& context) {
  v1::DetokenizeRequest request;
  for (const std::string& word : flags.text) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(word, &id))
      return Fail(absl::InvalidArgumentError(absl::StrCat("'", word, "' is not a token id")), kWrongUsage);
    request.add_ids(id);
  }
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::DetokenizeResponse> response = (*backend)->Detokenize(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
  } else {
    std::cout << response->text() << "\n";
  }
  return kDone;
}

int RunTokenize(const TokenizeFlags& flags, Context& context) {
  if (flags.decode) return RunDecode(flags, context);
  if (flags.text.size() != 1)
    return Fail(absl::InvalidArgumentError("give one text; put it in quotes if it has spaces"), kWrongUsage);
  absl::StatusOr<std::string> text = TextOrInput(flags.text.front());
  if (!text.ok()) return Fail(text.status());
  v1::TokenizeRequest request;
  request.set_text(*std::move(text));
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  absl::StatusOr<v1::TokenizeResponse> response = (*backend)->Tokenize(request);
  if (!response.ok()) return Fail(response.status());
  if (context.json) {
    PrintJson(*response);
    return kDone;
  }
  for (const v1::Token& token : response->tokens()) {
    // Quoted, so that white space can be seen.
    const std::string piece =
        nlohmann::json(token.text()).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    std::cout << token.id() << "\t" << piece << "\n";
  }
  return kDone;
}

}  // namespace

void AddTokenize(CLI::App& app, Context& context) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* command = app.add_subcommand("tokenize", "Show the language model's tokens of a text");
  command->add_option("text", flags->text, "The text; - reads standard input")->required();
  command->add_flag("--decode", flags->decode, "The other way: turn token ids to text");
  command->footer(R"(Examples:
  blazon tokenize "Hello, world"
  blazon tokenize --decode 19556 28 905
  blazon tokenize --json - < letter.txt)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunTokenize(*flags, context); }; });
}

}  // namespace blazon::service::cli
