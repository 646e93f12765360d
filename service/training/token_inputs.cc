#include "service/training/token_inputs.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "language/training/skip_gram.h"

namespace blazon::service {
namespace {

// What the vectors hold to be most alike of some frequent tokens: "; near king: prince, lord".
std::string DescribeNeighbours(const at::Tensor& tokens, const language::Tokenizer& tokenizer,
                               const at::Tensor& table) {
  constexpr int64_t kShown = 3, kLike = 3;
  constexpr int64_t kSkipped = 20;  // the most frequent ones are commas and articles
  constexpr int64_t kRare = 5;      // what came less often has learned nothing
  const at::Tensor unit = table / table.norm(2, {1}, true).clamp_min(1e-12);  // [V, D]
  const at::Tensor counts = at::bincount(tokens, {}, table.size(0));
  const at::Tensor frequent = counts.argsort(/*dim=*/0, /*descending=*/true);
  const auto word = [&](int64_t token) {
    const std::string text =
        tokenizer.Decode(std::vector<language::TokenId>{static_cast<language::TokenId>(token)}, /*skip_special=*/true);
    return std::string(absl::StripAsciiWhitespace(text));
  };
  std::string text;
  int64_t shown = 0;
  for (int64_t i = kSkipped; i < frequent.size(0) && shown < kShown; ++i) {
    const int64_t id = frequent[i].item<int64_t>();
    if (word(id).size() < 4 || counts[id].item<int64_t>() < kRare) continue;
    const at::Tensor alike = at::mv(unit, unit[id]).masked_fill(counts.lt(kRare), -1);
    const at::Tensor best = std::get<1>(alike.topk(std::min(kLike + 1, alike.size(0))));
    absl::StrAppend(&text, "; near ", word(id), ":");
    for (int64_t k = 1; k < best.size(0); ++k)
      absl::StrAppend(&text, k > 1 ? ", " : " ", word(best[k].item<int64_t>()));
    ++shown;
  }
  return text;
}

}  // namespace

absl::Status SetTokenInputs(const TokenInputsOptions& options, const at::Tensor& tokens,
                            const language::Tokenizer& tokenizer, at::Tensor table) {
  const at::NoGradGuard no_grad;
  const int64_t vocabulary = table.size(0), width = table.size(1);
  if (options.kind == "one-hot") {
    if (width < vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat("one-hot inputs need a place for each of the ", vocabulary,
                                                     " tokens, and --width is ", width,
                                                     "; give a larger --width, or a smaller vocabulary (--vocab-size "
                                                     "with word or bpe)"));
    }
    table.zero_();
    table.narrow(1, 0, vocabulary).fill_diagonal_(1.0);
    options.log(absl::StrFormat("inputs are one-hot: %d of %d places are in use", vocabulary, width));
  } else if (options.kind == "skip-gram") {
    const auto start = std::chrono::steady_clock::now();
    const absl::StatusOr<at::Tensor> vectors = language::TrainSkipGram(tokens, {.vocabulary_size = vocabulary,
                                                                                .width = width,
                                                                                .passes = options.passes,
                                                                                .seed = options.seed,
                                                                                .stop = options.stop});
    if (!vectors.ok()) return vectors.status();
    const double spread = table.std().item<double>();
    table.copy_(*vectors * (spread / std::max(vectors->std().item<double>(), 1e-12)));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    options.log(absl::StrFormat("inputs are skip-gram vectors, %d passes in %.0f s%s", options.passes, took.count(),
                                DescribeNeighbours(tokens, tokenizer, table)));
  }
  return absl::OkStatus();
}

}  // namespace blazon::service
