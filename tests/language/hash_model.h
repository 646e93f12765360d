// What the tests of generation share: a tiny deterministic model, its tokenizer, and a sink that notes what comes.
#pragma once

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "language/language_model.h"
#include "language/scheduler.h"
#include "language/tokenizer/utf8.h"

namespace blazon::language {

// A tokenizer of fixed pieces; id 0 is the end of text.
class PieceTokenizer : public Tokenizer {
 public:
  explicit PieceTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  std::vector<TokenId> Encode(std::string_view) const override { return {}; }
  std::vector<TokenId> EncodeWithSpecials(std::string_view) const override { return {}; }
  std::string TokenBytes(TokenId id) const override { return pieces_[id]; }
  std::string Decode(absl::Span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) text += pieces_[id];
    return text;
  }
  std::optional<TokenId> FindToken(std::string_view) const override { return std::nullopt; }
  bool IsSpecial(TokenId id) const override { return id == 0; }
  int64_t vocabulary_size() const override { return static_cast<int64_t>(pieces_.size()); }

 private:
  const std::vector<std::string> pieces_;
};

// The bytes of these pieces, joined in any order, split characters and stop strings in every way.
inline const std::vector<std::string>& Pieces() {
  static const auto& pieces = *new std::vector<std::string>{
      "<end>", "a",    "b",    "ab",       "S",    "ST",       "TO",       "OP",   "STOP", " ",
      "\n",    "\xC3", "\xA9", "\xE6\xBC", "\xA2", "\xF0\x9F", "\x98\x80", "\xFF", "é",    "x"};
  return pieces;
}
inline constexpr TokenId kEnd = 0;
inline constexpr int64_t kContext = 96;
inline constexpr int64_t kPoison = 19;  // the model throws when it reads this token

// What a sequence says next depends on all that it has read, and on nothing else. Width 2; an embedding is (id, 0).
class HashModel : public LanguageModel {
 public:
  struct State : ModelState {
    int64_t length() const override { return static_cast<int64_t>(ids.size()); }
    int64_t bytes() const override { return 8 * length(); }
    void Truncate(int64_t length) override { ids.resize(length); }
    std::unique_ptr<ModelState> Fork() const override { return std::make_unique<State>(*this); }
    std::vector<int64_t> ids;
  };

  explicit HashModel(int64_t context_length = kContext) {
    config_ = {.width = 2,
               .vocabulary_size = static_cast<int64_t>(Pieces().size()),
               .layers = 1,
               .context_length = context_length};
  }
  const LanguageModelConfig& config() const override { return config_; }
  const std::vector<Parameter>& parameters() const override { return parameters_; }
  std::unique_ptr<ModelState> NewState() const override { return std::make_unique<State>(); }

  at::Tensor Embed(const at::Tensor& tokens) const override {
    at::Tensor result = at::zeros({tokens.size(0), 2});
    result.select(1, 0).copy_(tokens);
    return result;
  }

  at::Tensor Forward(absl::Span<const ModelInput> batch) const override {
    if (on_forward) on_forward(batch);
    std::vector<float> rows;
    for (const ModelInput& input : batch) {
      auto& ids = static_cast<State*>(input.state)->ids;
      const at::Tensor numbers =
          input.tokens.defined() ? input.tokens : input.embeddings.select(1, 0).round().to(at::kLong);
      for (int64_t i = 0; i < numbers.size(0); ++i) {
        ids.push_back(numbers[i].item<int64_t>());
        TORCH_CHECK(ids.back() != kPoison, "poison");
        uint64_t hash = 1469598103934665603u;
        for (const int64_t id : ids) hash = (hash ^ static_cast<uint64_t>(id)) * 1099511628211u;
        rows.push_back(static_cast<float>(hash >> 44));
        rows.push_back(static_cast<float>(ids.size()));
      }
    }
    return at::tensor(at::ArrayRef<float>(rows)).view({-1, 2});
  }

  at::Tensor Logits(const at::Tensor& rows) const override {
    if (on_logits) on_logits();
    at::Tensor logits = at::zeros({rows.size(0), config_.vocabulary_size});
    for (int64_t row = 0; row < rows.size(0); ++row) {
      const auto position = static_cast<size_t>(rows[row][1].item<float>());
      if (position <= script.size() && position > 0) {  // after `position` tokens, the script's next one
        logits[row][script[position - 1]] = 10.0f;
        continue;
      }
      std::mt19937 random(static_cast<uint32_t>(rows[row][0].item<float>()));
      for (int64_t id = 0; id < config_.vocabulary_size; ++id)
        logits[row][id] = static_cast<float>(random() % 4096) / 1024.0f;
      logits[row][kPoison] = -100.0f;
    }
    return logits;
  }

  std::vector<TokenId> script;  // what follows a prompt of one token, whatever it was; then the hash decides
  std::function<void(absl::Span<const ModelInput>)> on_forward;
  std::function<void()> on_logits;

 private:
  LanguageModelConfig config_;
  std::vector<Parameter> parameters_;  // none: nothing here is learned
};

// Notes what comes, and lets a test wait for the end.
class Recorder : public TextSink {
 public:
  bool OnSequenceText(int64_t index, std::string_view text) override {
    more_[index] += text;
    return true;
  }
  bool OnText(std::string_view text) override {
    EXPECT_FALSE(result_.has_value()) << "text after OnDone";
    EXPECT_FALSE(text.empty());
    EXPECT_TRUE(IsValidUtf8(text)) << "a part of a character was shown";
    deltas.emplace_back(text);
    return on_text == nullptr || on_text();
  }
  void OnDone(const absl::StatusOr<GenerationResult>& result) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(result_.has_value()) << "OnDone came twice";
    result_ = result;
    done_.notify_all();
  }
  const absl::StatusOr<GenerationResult>& Wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return result_.has_value(); });
    return *result_;
  }
  std::string text() const { return absl::StrJoin(deltas, ""); }
  std::string text_of(int64_t index) const {
    const auto more = more_.find(index);
    return index == 0 ? text() : more == more_.end() ? "" : more->second;
  }

  std::vector<std::string> deltas;
  std::function<bool()> on_text;

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::optional<absl::StatusOr<GenerationResult>> result_;
  std::map<int64_t, std::string> more_;
};

// Opens once; a step of the model waits for it.
class Gate {
 public:
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

inline GenerationRequest Request(std::vector<TokenId> prompt, int64_t max_new_tokens,
                                 std::shared_ptr<TextSink> sink = nullptr) {
  GenerationRequest request;
  request.prompt = {std::move(prompt)};
  request.options.max_new_tokens = max_new_tokens;
  request.sink = std::move(sink);
  return request;
}

}  // namespace blazon::language
