// A request that draws its tokens: num_sequences samples that share the reading of the prompt, each with a sampler of
// its own seeded with seed + its index (modulo 2^64), so that each is what a request of its own would give with that
// seed. A sample that ends leaves the batch while the others go on.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "language/sampler.h"
#include "language/sequence.h"
#include "language/text_stream.h"

namespace blazon::language {

class SampledSequence : public Sequence {
 public:
  SampledSequence(GenerationRequest request, uint64_t seed, const LanguageModel& model, const Tokenizer& tokenizer,
                  const std::vector<TokenId>& end_tokens);

  absl::StatusOr<std::optional<FinishReason>> Accept(const at::Tensor& logits) override;
  void Finish(FinishReason reason) override;

 private:
  struct Branch {
    Branch(const GenerationRequest& request, uint64_t seed, const std::vector<TokenId>& prompt)
        : sampler(request.options, seed, prompt), text(request.options.stop, request.begins_text) {}

    Sampler sampler;
    TextStream text;                    // holds back what is not certain
    std::unique_ptr<ModelState> state;  // null before the prompt is read, and after the end
    std::optional<FinishReason> finished;
    GeneratedSequence result;
    double logprob_sum = 0;
  };

  std::vector<ModelInput> NextOfBranches() override;
  // Chooses the next token from logits [V] and sends what text is certain. Returns why the branch is finished, if it
  // is.
  absl::StatusOr<std::optional<FinishReason>> Extend(int64_t index, const at::Tensor& logits);
  bool Show(int64_t index, std::string_view text);
  void End(int64_t index, FinishReason reason);
  std::vector<int64_t> Unfinished() const;

  std::deque<Branch> branches_;
};

}  // namespace blazon::language
