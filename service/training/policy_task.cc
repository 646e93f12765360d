#include "service/training/policy_task.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "service/training/random_source.h"

namespace blazon::service {
namespace {

using language::Rollout;
using language::SampledText;
using language::TrainingExample;
using nlohmann::json;

constexpr int64_t kTextsAtOnce = 64;  // being written
constexpr double kKlRate = 0.1;       // Ziegler et al. 2019, section 2.2
constexpr double kMostKlSurprise = 0.2;

// The prompt with what the policy wrote, which is learned, its ending token included.
TrainingExample ExampleOf(const PolicyPrompt& prompt, const SampledText& text) {
  TrainingExample example{.tokens = prompt.tokens, .learned = std::vector<char>(prompt.tokens.size(), 0)};
  example.tokens.insert(example.tokens.end(), text.tokens.begin(), text.tokens.end());
  if (text.end) example.tokens.push_back(*text.end);
  example.learned.resize(example.tokens.size(), 1);
  return example;
}

// values: of all learned tokens of the rollouts, [n].
void Distribute(const at::Tensor& values, const std::vector<Rollout*>& rollouts, std::vector<float> Rollout::*member) {
  const at::Tensor flat = values.to(at::kFloat).contiguous();
  const float* next = flat.const_data_ptr<float>();
  for (Rollout* rollout : rollouts) {
    const int64_t count = rollout->text.learned_count();
    (rollout->*member).assign(next, next + count);
    next += count;
  }
}

}  // namespace

PolicyTask::PolicyTask(const LoadedLanguageModel& loaded, const TrainedModel& trained, const FrozenModels& frozen,
                       const std::vector<PolicyPrompt>& prompts, const std::vector<PolicyPrompt>& held_out,
                       const TrainPolicyOptions& options)
    : loaded_(loaded),
      trained_(trained),
      frozen_(frozen),
      prompts_(prompts),
      held_out_(held_out),
      options_(options),
      order_(prompts.size(), options.common.trainer.seed),
      kl_weight_(options.kl) {
  if (ppo()) {
    head_.weight = at::zeros({1, trained.model().config().width}).requires_grad_(true);
    head_.bias = at::zeros({1}).requires_grad_(true);
  }
}

std::vector<language::TrainedTensor> PolicyTask::Tensors() {
  std::vector<language::TrainedTensor> tensors = trained_.Tensors();
  if (ppo()) {
    tensors.push_back({.name = "value.weight", .tensor = head_.weight});
    tensors.push_back({.name = "value.bias", .tensor = head_.bias});
  }
  return tensors;
}

std::vector<std::string> PolicyTask::Figures() const {
  if (ppo()) return {"reward", "length", "kl", "clipped", "value_loss", "kl_weight"};
  return {"reward", "length", "kl", "clipped"};
}

std::vector<std::vector<const Rollout*>> PolicyTask::Rows(absl::Span<const Rollout* const> rollouts) const {
  std::vector<const TrainingExample*> examples;
  for (const Rollout* rollout : rollouts) examples.push_back(&rollout->text);
  std::vector<std::vector<const Rollout*>> rows;
  for (const auto& row : PackRows(examples, options_.common.row_tokens)) {
    rows.emplace_back();
    for (const TrainingExample* example : row) {
      const auto place = std::find(examples.begin(), examples.end(), example) - examples.begin();
      rows.back().push_back(rollouts[static_cast<size_t>(place)]);
    }
  }
  return rows;
}

absl::Status PolicyTask::Write(const std::vector<const PolicyPrompt*>& prompts,
                               const std::vector<std::vector<uint64_t>>& seeds, double temperature,
                               std::vector<std::vector<SampledText>>& texts) const {
  const int64_t each = std::max<int64_t>(1, std::ssize(seeds[0]));
  const auto at_once = static_cast<size_t>(std::max<int64_t>(1, kTextsAtOnce / each));
  for (size_t begin = 0; begin < prompts.size(); begin += at_once) {
    const size_t end = std::min(prompts.size(), begin + at_once);
    std::vector<std::vector<language::TokenId>> some;
    for (size_t i = begin; i < end; ++i) some.push_back(prompts[i]->tokens);
    auto written = language::SampleTexts(trained_.model(), trained_.adapter(), some,
                                         absl::MakeConstSpan(seeds).subspan(begin, end - begin), loaded_.end_tokens,
                                         {.max_tokens = options_.max_new_tokens, .temperature = temperature});
    if (!written.ok()) return written.status();
    for (auto& group : *written) texts.push_back(std::move(group));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> PolicyTask::Score(const std::vector<const PolicyPrompt*>& prompts,
                                                      const std::vector<SampledText>& texts,
                                                      const std::vector<TrainingExample>& examples) const {
  std::vector<double> scores(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string said = loaded_.tokenizer->Decode(texts[i].tokens, /*skip_special=*/true);
    scores[i] = ScoreCompletion(*prompts[i], said, texts[i].end.has_value(), frozen_.scorer);
  }
  if (!frozen_.reward) return scores;
  std::vector<const TrainingExample*> pointers;
  for (const TrainingExample& example : examples) pointers.push_back(&example);
  for (const auto& row : PackRows(pointers, options_.common.row_tokens)) {
    const std::vector<double> rewards = Rewards(*frozen_.model, *frozen_.reward, row);
    for (size_t i = 0; i < row.size(); ++i) scores[static_cast<size_t>(row[i] - examples.data())] += rewards[i];
  }
  return scores;
}

absl::Status PolicyTask::BeginRound() {
  ++round_;
  update_ = 0;
  RandomSource random(options_.common.trainer.seed * 1000003 + static_cast<uint64_t>(round_));
  std::vector<const PolicyPrompt*> prompts;
  std::vector<std::vector<uint64_t>> seeds;
  for (int64_t i = 0; i < options_.common.batch; ++i) {
    prompts.push_back(&prompts_[order_.Next()]);
    seeds.emplace_back();
    for (int64_t j = 0; j < options_.group; ++j) seeds.back().push_back(random.Seed());
  }
  std::vector<std::vector<SampledText>> groups;
  if (absl::Status status = Write(prompts, seeds, options_.temperature, groups); !status.ok()) return status;
  std::vector<const PolicyPrompt*> prompt_of;
  std::vector<SampledText> texts;
  std::vector<TrainingExample> examples;
  rollouts_.clear();
  length_ = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (SampledText& text : groups[i]) {
      prompt_of.push_back(prompts[i]);
      examples.push_back(ExampleOf(*prompts[i], text));
      rollouts_.push_back({.text = examples.back()});
      length_ += static_cast<double>(text.tokens.size());
      texts.push_back(std::move(text));
    }
  }
  const absl::StatusOr<std::vector<double>> rewards = Score(prompt_of, texts, examples);
  if (!rewards.ok()) return rewards.status();
  const auto count = static_cast<double>(rewards->size());
  reward_ = std::accumulate(rewards->begin(), rewards->end(), 0.0) / count;
  length_ /= count;
  NoteLogprobs();
  if (ppo()) {
    NoteGeneralisedAdvantages(*rewards);
  } else {
    NoteGroupAdvantages(*rewards);
  }
  return absl::OkStatus();
}

void PolicyTask::NoteLogprobs() {
  const at::NoGradGuard no_grad;
  std::vector<const Rollout*> all;
  for (const Rollout& rollout : rollouts_) all.push_back(&rollout);
  for (const auto& row : Rows(all)) {
    std::vector<const TrainingExample*> examples;
    std::vector<Rollout*> rollouts;
    for (const Rollout* rollout : row) {
      examples.push_back(&rollout->text);
      rollouts.push_back(&rollouts_[static_cast<size_t>(rollout - rollouts_.data())]);
    }
    const language::LearnedTokens now =
        language::ReadLearned(trained_.model(), trained_.adapter(), examples, options_.temperature);
    Distribute(now.logprobs, rollouts, &Rollout::logprobs);
    if (ppo())
      Distribute(at::linear(now.states.to(at::kFloat), head_.weight, head_.bias).flatten(), rollouts, &Rollout::values);
    if (options_.kl > 0) {
      const language::LearnedTokens reference =
          language::ReadLearned(*frozen_.model, frozen_.reference, examples, options_.temperature);
      Distribute(reference.logprobs, rollouts, &Rollout::reference);
    }
  }
}

void PolicyTask::NoteGroupAdvantages(const std::vector<double>& rewards) {
  const auto group = static_cast<size_t>(options_.group);
  for (size_t begin = 0; begin < rewards.size(); begin += group) {
    const std::vector<float> advantages = language::GroupAdvantages(absl::MakeConstSpan(rewards).subspan(begin, group));
    for (size_t i = 0; i < group; ++i) {
      Rollout& rollout = rollouts_[begin + i];
      rollout.advantages.assign(rollout.logprobs.size(), advantages[i]);
    }
  }
}

void PolicyTask::NoteGeneralisedAdvantages(const std::vector<double>& rewards) {
  double divergence = 0, sum = 0, squares = 0, count = 0;
  for (size_t i = 0; i < rollouts_.size(); ++i) {
    Rollout& rollout = rollouts_[i];
    std::vector<float> token_rewards(rollout.logprobs.size(), 0);
    for (size_t j = 0; j < rollout.reference.size(); ++j) {
      const double gap = rollout.logprobs[j] - rollout.reference[j];
      divergence += gap;
      token_rewards[j] = static_cast<float>(-kl_weight_ * gap);
    }
    token_rewards.back() += static_cast<float>(rewards[i]);
    rollout.advantages =
        language::GeneralisedAdvantages(token_rewards, rollout.values, options_.gamma, options_.lambda);
    rollout.returns = rollout.advantages;
    for (size_t j = 0; j < rollout.returns.size(); ++j) {
      rollout.returns[j] += rollout.values[j];
      sum += rollout.advantages[j];
      squares += rollout.advantages[j] * rollout.advantages[j];
    }
    count += static_cast<double>(rollout.returns.size());
  }
  const double mean = sum / count, deviation = std::sqrt(std::max(0.0, squares / count - mean * mean));
  for (Rollout& rollout : rollouts_) {
    for (float& advantage : rollout.advantages) advantage = static_cast<float>((advantage - mean) / (deviation + 1e-8));
  }
  if (options_.kl_target > 0) {
    const double surprise = divergence / static_cast<double>(rollouts_.size()) / options_.kl_target - 1;
    kl_weight_ *= 1 + kKlRate * std::clamp(surprise, -kMostKlSurprise, kMostKlSurprise);
  }
}

absl::StatusOr<StepLoss> PolicyTask::AddGradients(bool repeat) {
  if (rollouts_.empty() || update_ == options_.updates * options_.minibatches) {
    if (absl::Status status = BeginRound(); !status.ok()) return status;
  }
  // Each time in another order, divided into steps.
  std::vector<const Rollout*> order;
  for (const Rollout& rollout : rollouts_) order.push_back(&rollout);
  RandomSource random((options_.common.trainer.seed * 1000003 + static_cast<uint64_t>(round_)) * 1000003 +
                      static_cast<uint64_t>(update_ / options_.minibatches) + 1);
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
  const auto count = static_cast<size_t>(options_.minibatches), part = static_cast<size_t>(update_) % count;
  const size_t begin = order.size() * part / count, end = order.size() * (part + 1) / count;
  const auto chosen = absl::MakeConstSpan(order).subspan(begin, end - begin);
  StepLoss step;
  int64_t tokens = 0;
  for (const Rollout* rollout : chosen) {
    tokens += std::ssize(rollout->logprobs);
    step.tokens += std::ssize(rollout->text.tokens);
  }
  const language::PolicyLossOptions loss_options = {.temperature = options_.temperature,
                                                    .clip = options_.clip,
                                                    .kl = ppo() ? 0.0 : kl_weight_,
                                                    .by_text = !ppo(),
                                                    .value_weight = options_.value_weight,
                                                    .value_clip = options_.value_clip};
  language::PolicyTerms terms;
  for (const auto& row : Rows(chosen)) {
    terms += language::AddPolicyGradients(trained_.model(), trained_.adapter(), ppo() ? &head_ : nullptr, row,
                                          loss_options, std::ssize(chosen), tokens);
  }
  ++update_;
  step.loss = terms.loss;
  step.figures = {reward_, length_, terms.kl, terms.clipped};
  if (ppo()) step.figures.insert(step.figures.end(), {terms.value, kl_weight_});
  return step;
}

absl::StatusOr<std::optional<double>> PolicyTask::Evaluate(int64_t step) {
  if (held_out_.empty()) return std::nullopt;
  std::vector<const PolicyPrompt*> prompts;
  for (const PolicyPrompt& prompt : held_out_) prompts.push_back(&prompt);
  const std::vector<std::vector<uint64_t>> seeds(prompts.size(), {0});
  std::vector<std::vector<SampledText>> groups;
  if (absl::Status status = Write(prompts, seeds, /*temperature=*/0, groups); !status.ok()) return status;
  std::vector<SampledText> texts;
  std::vector<TrainingExample> examples;
  double length = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    examples.push_back(ExampleOf(held_out_[i], groups[i][0]));
    length += static_cast<double>(groups[i][0].tokens.size());
    texts.push_back(std::move(groups[i][0]));
  }
  const absl::StatusOr<std::vector<double>> scores = Score(prompts, texts, examples);
  if (!scores.ok()) return scores.status();
  const auto count = static_cast<double>(scores->size());
  const double score = std::accumulate(scores->begin(), scores->end(), 0.0) / count;
  options_.common.trainer.log(
      absl::StrFormat("step %d: held-out score %.4f, mean length %.1f tokens", step, score, length / count));
  return -score;
}

json PolicyTask::Position() const {
  json position = {{"order", order_.Position()},
                   {"round", round_},
                   {"update", update_},
                   {"kl_weight", kl_weight_},
                   {"reward", reward_},
                   {"length", length_},
                   {"updates", options_.updates * options_.minibatches},
                   {"rollouts", json::array()}};
  if (update_ == options_.updates * options_.minibatches) return position;  // the round is over
  for (const Rollout& rollout : rollouts_) {
    position["rollouts"].push_back({{"tokens", rollout.text.tokens},
                                    {"learned", rollout.text.learned_count()},
                                    {"logprobs", rollout.logprobs},
                                    {"reference", rollout.reference},
                                    {"advantages", rollout.advantages},
                                    {"values", rollout.values},
                                    {"returns", rollout.returns}});
  }
  return position;
}

absl::Status PolicyTask::SetPosition(const json& position) {
  try {
    if (absl::Status status = order_.SetPosition(position.at("order")); !status.ok()) return status;
    round_ = position.at("round").get<int64_t>();
    update_ = position.at("update").get<int64_t>();
    kl_weight_ = position.at("kl_weight").get<double>();
    reward_ = position.at("reward").get<double>();
    length_ = position.at("length").get<double>();
    rollouts_.clear();
    if (position.at("rollouts").empty()) return absl::OkStatus();
    if (position.at("updates").get<int64_t>() != options_.updates * options_.minibatches)
      return absl::FailedPreconditionError(
          "it was made within a round of other --updates or --minibatches; give those, or begin a new run");
    for (const json& each : position.at("rollouts")) {
      Rollout& rollout = rollouts_.emplace_back();
      each.at("tokens").get_to(rollout.text.tokens);
      const auto learned = each.at("learned").get<size_t>();
      for (const auto& [name, vector] :
           {std::pair{"logprobs", &rollout.logprobs}, std::pair{"reference", &rollout.reference},
            std::pair{"advantages", &rollout.advantages}, std::pair{"values", &rollout.values},
            std::pair{"returns", &rollout.returns}}) {
        each.at(name).get_to(*vector);
        if (!vector->empty() && vector->size() != learned)
          return absl::DataLossError("a completion of its round has vectors of different lengths");
      }
      if (learned < 1 || learned >= rollout.text.tokens.size() || rollout.logprobs.size() != learned ||
          rollout.advantages.size() != learned || (ppo() && rollout.returns.size() != learned))
        return absl::DataLossError("a completion of its round is not whole");
      rollout.text.learned.assign(rollout.text.tokens.size(), 0);
      std::fill(rollout.text.learned.end() - static_cast<int64_t>(learned), rollout.text.learned.end(), 1);
    }
  } catch (const json::exception&) {
    return absl::DataLossError("it says nothing of the round");
  }
  return absl::OkStatus();
}

}  // namespace blazon::service
