#include "service/checkpoint/tokenizer_writer.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/text_file.h"

namespace blazon::service {
namespace {

// In the order of insertion, as the package writes: vocabularies by id.
using OrderedJson = nlohmann::ordered_json;

absl::Status NotWritten(const char* part) {
  return absl::UnimplementedError(absl::StrCat("the tokenizer's ", part, " is not one that Blazon writes"));
}

OrderedJson VocabularyJson(const std::vector<std::string>& tokens) {
  OrderedJson vocabulary = OrderedJson::object();
  // Not by operator[], which looks through all that is there.
  auto& members = vocabulary.get_ref<OrderedJson::object_t&>();
  members.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty()) static_cast<OrderedJson::object_t::Container&>(members).emplace_back(tokens[id], id);
  }
  return vocabulary;
}

absl::StatusOr<OrderedJson> ModelJson(const language::TokenizerConfig& config) {
  if (const auto* const words = std::get_if<language::WordLevelConfig>(&config.model)) {
    if (!words->unknown) return NotWritten("model");  // the package demands one
    return OrderedJson{{"type", "WordLevel"}, {"vocab", VocabularyJson(config.tokens)}, {"unk_token", *words->unknown}};
  }
  const auto* const pairs = std::get_if<language::BytePairConfig>(&config.model);
  if (pairs == nullptr || !pairs->scores.empty()) return NotWritten("model");
  OrderedJson merges = OrderedJson::array();
  for (const auto& [left, right] : pairs->merges) merges.push_back(OrderedJson::array({left, right}));
  return OrderedJson{
      {"type", "BPE"},
      {"dropout", nullptr},
      {"unk_token", pairs->unknown ? OrderedJson(*pairs->unknown) : OrderedJson(nullptr)},
      {"continuing_subword_prefix",
       pairs->continuing_subword_prefix.empty() ? OrderedJson(nullptr) : OrderedJson(pairs->continuing_subword_prefix)},
      {"end_of_word_suffix",
       pairs->end_of_word_suffix.empty() ? OrderedJson(nullptr) : OrderedJson(pairs->end_of_word_suffix)},
      {"fuse_unk", pairs->fuse_unknown},
      {"byte_fallback", pairs->byte_fallback},
      {"ignore_merges", pairs->ignore_merges},
      {"vocab", VocabularyJson(config.tokens)},
      {"merges", std::move(merges)}};
}

absl::StatusOr<OrderedJson> PreTokenizerJson(const std::vector<language::pre_tokenizers::Step>& steps) {
  if (steps.empty()) return OrderedJson(nullptr);
  const auto* const bytes = std::get_if<language::pre_tokenizers::ByteLevel>(&steps[0]);
  if (steps.size() > 1 || bytes == nullptr) return NotWritten("pre_tokenizer");
  return OrderedJson{{"type", "ByteLevel"},
                     {"add_prefix_space", bytes->add_prefix_space},
                     {"trim_offsets", true},
                     {"use_regex", bytes->use_regex}};
}

absl::StatusOr<OrderedJson> DecoderJson(const std::vector<language::decoders::Step>& steps) {
  if (steps.empty()) return OrderedJson(nullptr);
  if (steps.size() > 1) return NotWritten("decoder");
  if (std::holds_alternative<language::decoders::Fuse>(steps[0])) return OrderedJson{{"type", "Fuse"}};
  if (!std::holds_alternative<language::decoders::ByteLevel>(steps[0])) return NotWritten("decoder");
  return OrderedJson{{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
}

}  // namespace

absl::StatusOr<std::string> WriteTokenizerJson(const language::TokenizerConfig& config) {
  if (!config.normalizer.empty()) return NotWritten("normalizer");
  if (!config.prefix.empty() || !config.suffix.empty()) return NotWritten("post_processor");
  OrderedJson added = OrderedJson::array();
  for (const language::AddedToken& token : config.added_tokens) {
    added.push_back(OrderedJson{{"id", token.id},
                                {"content", token.content},
                                {"single_word", token.single_word},
                                {"lstrip", token.strip_left},
                                {"rstrip", token.strip_right},
                                {"normalized", token.normalized},
                                {"special", token.special}});
  }
  absl::StatusOr<OrderedJson> model = ModelJson(config);
  if (!model.ok()) return model.status();
  absl::StatusOr<OrderedJson> pre_tokenizer = PreTokenizerJson(config.pre_tokenizer);
  if (!pre_tokenizer.ok()) return pre_tokenizer.status();
  absl::StatusOr<OrderedJson> decoder = DecoderJson(config.decoder);
  if (!decoder.ok()) return decoder.status();
  const OrderedJson root = {{"version", "1.0"},          {"truncation", nullptr},
                            {"padding", nullptr},        {"added_tokens", std::move(added)},
                            {"normalizer", nullptr},     {"pre_tokenizer", *std::move(pre_tokenizer)},
                            {"post_processor", nullptr}, {"decoder", *std::move(decoder)},
                            {"model", *std::move(model)}};
  try {
    return root.dump(2) + "\n";
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("a token is not UTF-8");
  }
}

absl::Status SaveTokenizer(const language::TokenizerConfig& config, const std::filesystem::path& folder) {
  const absl::StatusOr<std::string> text = WriteTokenizerJson(config);
  if (!text.ok()) return text.status();
  OrderedJson names = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  for (const language::AddedToken& token : config.added_tokens) {
    if (token.content == "<|endoftext|>") names["bos_token"] = names["eos_token"] = token.content;
    if (token.content == "<unk>") names["unk_token"] = token.content;
  }
  if (absl::Status status = WriteTextFile(folder / "tokenizer.json", *text); !status.ok()) return status;
  return WriteTextFile(folder / "tokenizer_config.json", names.dump(2) + "\n");
}

}  // namespace blazon::service
