// A request that searches for its text: beam search, plain or in diverse groups.
//
// Plain beam search is that of transformers 5 (generate with num_beams, do_sample=False), hypotheses and scores alike:
//   - Every step scores each continuation of each running beam: the beam's sum so far plus the token's log-probability
//     after bias, penalties and banned n-grams (which work on log-probabilities here, and are not renormalised).
//   - The best max(2, 1 + number of end tokens) * num_beams continuations are looked at, best first. Those among the
//     first num_beams that end (end of text, stop token, stop string, repetition, length) become hypotheses, the others
//     that end are dropped; the best num_beams of those that do not end run on.
//   - A hypothesis scores sum / tokens ^ length_penalty, the ending token included in both. The best num_beams
//     hypotheses are kept; early_stopping (language/generation_options.h) says when the search is over.
// Only equal scores may fall out differently: here the beam with the better sum and then the lower id comes first.
//
// Groups are diverse beam search (Vijayakumar et al. 2016, arXiv 1610.02424) with the Hamming distance: num_beam_groups
// searches of num_beams / num_beam_groups beams each. In every step they take their turn in order, and a token's
// log-probability is lowered by diversity_penalty for each beam of an earlier group that ran on with this token in this
// step. What was subtracted stays in the sum, as in transformers 4. Each group ends by itself; the hypotheses of all
// are ranked together.
//
// The text comes at the end, for until then the best beam may be any. An interrupted search gives its best so far:
// hypotheses and running beams, these scored as if they ended.
// Memory: each beam keeps keys and values of its own for prompt and output once it has read a token.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "language/logits_processor.h"
#include "language/sequence.h"
#include "language/text_stream.h"

namespace blazon::language {

class BeamSequence : public Sequence {
 public:
  BeamSequence(GenerationRequest request, uint64_t seed, const LanguageModel& model, const Tokenizer& tokenizer,
               const std::vector<TokenId>& end_tokens);

  absl::StatusOr<std::optional<FinishReason>> Accept(const at::Tensor& logits) override;
  void Finish(FinishReason reason) override;

 private:
  struct Beam {
    LogitsProcessor processor;
    TextStream text;                    // only to find stop strings
    std::unique_ptr<ModelState> state;  // has read the prompt and all tokens but the last
    std::vector<TokenId> tokens;
    std::vector<TokenLogprob> logprobs;  // of the tokens, when asked for
    double logprob_sum = 0;              // of the tokens, by the model
    float score = 0;                     // sum that beams are compared by
  };
  struct Group {
    std::vector<Beam> running;                  // best first; empty once the group's search is over
    std::vector<GeneratedSequence> hypotheses;  // best first, at most the group's number of beams; text is not yet made
  };
  // How a running beam may go on.
  struct Continuation {
    float score = 0;
    size_t beam = 0;  // its place in Group::running
    TokenId token = 0;
  };
  // What the model says of each running beam's next token, and what the search makes of it. [beams][V]
  struct Scores {
    std::vector<const float*> logprobs;
    std::vector<std::vector<float>> processed;
  };

  std::vector<ModelInput> NextOfBranches() override;
  void Step(Group& group, const Scores& scores);
  std::vector<Continuation> BestContinuations(const Group& group, const Scores& scores) const;
  // Why the beam ends with this token, if it does.
  std::optional<FinishReason> EndsWith(const Beam& beam, TokenId token) const;
  void AddHypothesis(Group& group, const Beam& beam, const Continuation& continuation, FinishReason reason,
                     const float* logprobs);
  bool IsOver(const Group& group) const;
  // A beam that ends as it is.
  GeneratedSequence ToHypothesis(const Beam& beam, FinishReason reason) const;
  float FinalScore(float sum, int64_t tokens) const;

  const int64_t group_beams_;
  std::vector<Group> groups_;
};

}  // namespace blazon::language
