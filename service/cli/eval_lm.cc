// blazon eval lm: how well a language model foresees a text.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/cli/commands.h"
#include "service/cli/context.h"
#include "service/cli/input.h"
#include "service/cli/interrupt.h"
#include "service/cli/progress.h"

namespace blazon::service::cli {
namespace {

constexpr int64_t kDefaultContext = 1024;

struct EvalLmFlags {
  std::string text;
  int64_t context = 0;  // 0: the model's, at most kDefaultContext
  int64_t stride = 0;   // 0: half of the context
};

// The context of the language model that has been loaded.
absl::StatusOr<int64_t> ModelContext(Backend& backend, const std::string& name) {
  const absl::StatusOr<v1::ListModelsResponse> models = backend.ListModels();
  if (!models.ok()) return models.status();
  for (const v1::Model& model : models->models()) {
    if (model.name() == name && model.context_length() > 0) return model.context_length();
  }
  return absl::InternalError(absl::StrCat("the context of '", name, "' is not known; give --context"));
}

int RunEvalLm(const EvalLmFlags& flags, Context& context) {
  absl::StatusOr<std::string> text = ReadInput(flags.text);
  if (!text.ok()) return Fail(text.status());
  absl::StatusOr<Backend*> backend = context.OpenBackend();
  if (!backend.ok()) return Fail(backend.status());
  v1::TokenizeRequest tokenize;
  tokenize.set_text(*text);
  const absl::StatusOr<v1::TokenizeResponse> tokens = (*backend)->Tokenize(tokenize);
  if (!tokens.ok()) return Fail(tokens.status());
  const int64_t count = tokens->tokens_size();
  const absl::StatusOr<int64_t> most = ModelContext(**backend, tokens->model().name());
  if (!most.ok()) return Fail(most.status());
  const int64_t window = flags.context > 0 ? flags.context : std::min(*most, kDefaultContext);
  const int64_t stride = flags.stride > 0 ? flags.stride : std::max<int64_t>(window / 2, 1);
  if (window < 2 || window > *most) {
    return Fail(absl::InvalidArgumentError(
                    absl::StrCat("--context is ", window, "; it must be 2 to ", *most, ", the model's context")),
                kWrongUsage);
  }
  if (stride >= window) {
    return Fail(absl::InvalidArgumentError(absl::StrCat("--stride is ", stride, "; it must be below the context of ",
                                                        window, " tokens, so that something stands before each")),
                kWrongUsage);
  }
  if (count < 2)
    return Fail(absl::InvalidArgumentError(absl::StrCat(flags.text, " has ", count, " tokens; at least 2 are needed")));

  double sum = 0;
  int64_t scored = 0, windows = 0;
  Progress progress("Scored");
  // Tokens [done, end) are scored given those from `begin` on. The first window has a token for the model's own
  // beginning of a text, which some put before it.
  for (int64_t done = 0; done < count;) {
    const int64_t begin = done == 0 ? 0 : done - (window - stride);
    const int64_t end = std::min(done == 0 ? window - 1 : done + stride, count);
    v1::ScoreRequest request;
    for (int64_t i = begin; i < done; ++i) request.add_prompt_token_ids(tokens->tokens(static_cast<int>(i)).id());
    for (int64_t i = done; i < end; ++i) request.add_completion_token_ids(tokens->tokens(static_cast<int>(i)).id());
    const absl::StatusOr<v1::ScoreResponse> response = (*backend)->Score(request);
    if (!response.ok()) return Fail(response.status());
    sum += response->logprob();
    scored += response->tokens_size();
    ++windows;
    done = end;
    progress.Show(done, count, "");
    if (Interrupted()) return kInterrupted;
  }
  const double loss = -sum / static_cast<double>(scored);
  const double bits_per_byte = -sum / std::log(2.0) / static_cast<double>(text->size());
  if (context.json) {
    std::cout << nlohmann::ordered_json{{"model", tokens->model().name()},
                                        {"bytes", text->size()},
                                        {"tokens", count},
                                        {"scored", scored},
                                        {"context", window},
                                        {"stride", stride},
                                        {"windows", windows},
                                        {"loss", loss},
                                        {"perplexity", std::exp(loss)},
                                        {"bits_per_byte", bits_per_byte}}
                     .dump()
              << "\n";
    return kDone;
  }
  std::cout << absl::StrFormat("%-13s %10.4f\n%-13s %10.4f  nats a token\n%-13s %10.4f\n%-13s %10d  of %d\n",
                               "perplexity", std::exp(loss), "loss", loss, "bits per byte", bits_per_byte, "tokens",
                               scored, count);
  return kDone;
}

}  // namespace

void AddEvalLm(CLI::App& eval, Context& context) {
  auto flags = std::make_shared<EvalLmFlags>();
  CLI::App* command = eval.add_subcommand("lm", "Measure the perplexity of a language model on a text");
  command->add_option("text", flags->text, "The file; - reads standard input")->type_name("FILE")->required();
  command->add_option("--context", flags->context, "Tokens of a window (default: the model's context, at most 1024)")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 24));
  command
      ->add_option("--stride", flags->stride,
                   "Tokens that a window goes on; the others of it stand before them (default: half of the window)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command->footer(
      R"(Each token is scored once, given at least context - stride tokens before it, but for those of the first window. A first
token that nothing stands before is not scored. Perplexities of models with other tokenizers cannot be compared; bits per byte can.

Examples:
  blazon eval lm book.txt
  blazon eval lm --model ~/models/gpt2 --context 512 --stride 256 book.txt)");
  command->callback([flags, &context] { context.run = [flags, &context] { return RunEvalLm(*flags, context); }; });
}

}  // namespace blazon::service::cli
