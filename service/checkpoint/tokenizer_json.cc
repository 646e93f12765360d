#include "service/checkpoint/tokenizer_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/utf8.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/quoted.h"

namespace blazon::service {
namespace {

using nlohmann::json;
namespace decoders = language::decoders;
namespace normalizers = language::normalizers;
namespace pre_tokenizers = language::pre_tokenizers;

constexpr uint64_t kMostIds = 1 << 26;

// Reads members of objects and keeps the first error; after one, what is read is of no account.
class Reader {
 public:
  const absl::Status& status() const { return status_; }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  void Broken(const std::string& what) { Fail(absl::DataLossError(what)); }
  void Unknown(const std::string& part, std::string_view type) {
    Fail(absl::UnimplementedError(absl::StrCat(part, " is of type ", Quoted(type), ", which Blazon does not read")));
  }

  // Null when it is missing.
  const json& Member(const json& object, const char* name) {
    static const json& null = *new json();
    const auto found = object.is_object() ? object.find(name) : object.end();
    return object.is_object() && found != object.end() ? *found : null;
  }
  bool Bool(const json& object, const char* name, std::optional<bool> fallback = std::nullopt) {
    return Get<bool>(object, name, fallback, &json::is_boolean, "true or false");
  }
  std::string String(const json& object, const char* name, std::optional<std::string> fallback = std::nullopt) {
    return Get<std::string>(object, name, std::move(fallback), &json::is_string, "a string");
  }
  uint64_t Unsigned(const json& object, const char* name, std::optional<uint64_t> fallback = std::nullopt) {
    return Get<uint64_t>(object, name, fallback, &json::is_number_unsigned, "a whole number");
  }
  // A string of one character.
  int32_t Character(const json& object, const char* name, std::optional<std::string> fallback = std::nullopt) {
    const std::string text = String(object, name, std::move(fallback));
    size_t position = 0;
    const int32_t character = text.empty() ? 0 : language::NextCharacter(text, &position);
    if (text.empty() || position != text.size())
      Broken(absl::StrCat(name, " is ", Quoted(text), "; it must be one character"));
    return character;
  }
  // {"String": "..."} or {"Regex": "..."}
  language::Pattern Pattern(const json& object) {
    const json& pattern = Member(object, "pattern");
    for (const char* kind : {"String", "Regex"}) {
      const json& text = Member(pattern, kind);
      if (text.is_string()) return {text.get<std::string>(), std::string_view(kind) == "Regex"};
    }
    if (pattern.is_string()) return {pattern.get<std::string>(), false};  // old files
    Broken("a pattern is neither a String nor a Regex");
    return {};
  }

 private:
  template <class Value>
  Value Get(const json& object, const char* name, std::optional<Value> fallback, bool (json::*is)() const noexcept,
            const char* wanted) {
    const json& member = Member(object, name);
    if ((member.*is)()) return member.get<Value>();
    if (!member.is_null()) {
      Broken(absl::StrCat(name, " is not ", wanted));
    } else if (!fallback) {
      Broken(absl::StrCat(name, " is missing; it must be ", wanted));
    }
    return fallback.value_or(Value());
  }

  absl::Status status_;
};

// Calls `read` for each component that `component` holds, Sequences unrolled. `list` is what a Sequence calls its list.
template <class Read>
void ForEachComponent(Reader& reader, const json& component, const char* part, const char* list, const Read& read) {
  if (component.is_null()) return;
  const std::string type = reader.String(component, "type");
  if (type != "Sequence") return read(component, type);
  const json& members = reader.Member(component, list);
  if (!members.is_array()) return reader.Broken(absl::StrCat(part, " is a Sequence without ", list));
  for (const json& member : members) ForEachComponent(reader, member, part, list, read);
}

void ReadNormalizer(Reader& reader, const json& from, std::vector<normalizers::Step>* steps) {
  ForEachComponent(reader, from, "normalizer", "normalizers", [&](const json& one, const std::string& type) {
    if (type == "NFC") {
      steps->emplace_back(normalizers::UnicodeForm::kNfc);
    } else if (type == "NFD") {
      steps->emplace_back(normalizers::UnicodeForm::kNfd);
    } else if (type == "NFKC") {
      steps->emplace_back(normalizers::UnicodeForm::kNfkc);
    } else if (type == "NFKD") {
      steps->emplace_back(normalizers::UnicodeForm::kNfkd);
    } else if (type == "Lowercase") {
      steps->emplace_back(normalizers::Lowercase());
    } else if (type == "Strip") {
      steps->emplace_back(
          normalizers::Strip{reader.Bool(one, "strip_left", true), reader.Bool(one, "strip_right", true)});
    } else if (type == "StripAccents") {
      steps->emplace_back(normalizers::StripAccents());
    } else if (type == "Replace") {
      steps->emplace_back(normalizers::Replace{reader.Pattern(one), reader.String(one, "content")});
    } else if (type == "Prepend") {
      steps->emplace_back(normalizers::Prepend{reader.String(one, "prepend")});
    } else if (type == "BertNormalizer") {
      const bool lowercase = reader.Bool(one, "lowercase", true);  // strip_accents follows it where it is null
      steps->emplace_back(normalizers::Bert{.clean_text = reader.Bool(one, "clean_text", true),
                                            .split_cjk = reader.Bool(one, "handle_chinese_chars", true),
                                            .strip_accents = reader.Bool(one, "strip_accents", lowercase),
                                            .lowercase = lowercase});
    } else if (type == "Nmt") {
      steps->emplace_back(normalizers::Nmt());
    } else if (type == "Precompiled") {
      normalizers::Precompiled precompiled;
      if (!absl::Base64Unescape(reader.String(one, "precompiled_charsmap"), &precompiled.charsmap))
        reader.Broken("precompiled_charsmap is not base64");
      if (!precompiled.charsmap.empty()) steps->emplace_back(std::move(precompiled));
    } else if (type == "ByteLevel") {
      steps->emplace_back(normalizers::ByteLevel());
    } else {
      reader.Unknown("normalizer", type);
    }
  });
}

pre_tokenizers::Behavior ReadBehavior(Reader& reader, const json& one, std::optional<std::string> fallback) {
  using pre_tokenizers::Behavior;
  const std::string name = reader.String(one, "behavior", std::move(fallback));
  for (const auto& [known, behavior] :
       {std::pair("Removed", Behavior::kRemoved), std::pair("Isolated", Behavior::kIsolated),
        std::pair("MergedWithPrevious", Behavior::kMergedWithPrevious),
        std::pair("MergedWithNext", Behavior::kMergedWithNext), std::pair("Contiguous", Behavior::kContiguous)}) {
    if (name == known) return behavior;
  }
  reader.Unknown("a pre_tokenizer's behavior", name);
  return Behavior::kIsolated;
}

// prepend_scheme, or the older add_prefix_space.
pre_tokenizers::PrependScheme ReadPrepend(Reader& reader, const json& one) {
  using pre_tokenizers::PrependScheme;
  const bool older = reader.Bool(one, "add_prefix_space", true);
  const std::string scheme = reader.String(one, "prepend_scheme", older ? "always" : "never");
  if (!older && scheme != "never")
    reader.Broken(absl::StrCat("add_prefix_space is false, but prepend_scheme is ", Quoted(scheme)));
  if (scheme == "always") return PrependScheme::kAlways;
  if (scheme == "first") return PrependScheme::kFirst;
  if (scheme != "never") reader.Unknown("prepend_scheme", scheme);
  return PrependScheme::kNever;
}

std::string ReadReplacement(Reader& reader, const json& one) {
  std::string text;
  language::AppendUtf8(reader.Character(one, "replacement", "\u2581"), &text);
  return text;
}

void ReadPreTokenizer(Reader& reader, const json& from, std::vector<pre_tokenizers::Step>* steps) {
  ForEachComponent(reader, from, "pre_tokenizer", "pretokenizers", [&](const json& one, const std::string& type) {
    if (type == "ByteLevel") {
      steps->emplace_back(
          pre_tokenizers::ByteLevel{reader.Bool(one, "add_prefix_space", true), reader.Bool(one, "use_regex", true)});
    } else if (type == "Split") {
      steps->emplace_back(pre_tokenizers::Split{reader.Pattern(one), ReadBehavior(reader, one, std::nullopt),
                                                reader.Bool(one, "invert", false)});
    } else if (type == "Metaspace") {
      steps->emplace_back(pre_tokenizers::Metaspace{ReadReplacement(reader, one), ReadPrepend(reader, one),
                                                    reader.Bool(one, "split", true)});
    } else if (type == "Digits") {
      steps->emplace_back(pre_tokenizers::Digits{reader.Bool(one, "individual_digits", false)});
    } else if (type == "Whitespace") {
      steps->emplace_back(pre_tokenizers::Whitespace());
    } else if (type == "WhitespaceSplit") {
      steps->emplace_back(pre_tokenizers::WhitespaceSplit());
    } else if (type == "BertPreTokenizer") {
      steps->emplace_back(pre_tokenizers::Bert());
    } else if (type == "Punctuation") {
      steps->emplace_back(pre_tokenizers::Punctuation{ReadBehavior(reader, one, "Isolated")});
    } else if (type == "CharDelimiterSplit") {
      steps->emplace_back(pre_tokenizers::CharDelimiterSplit{reader.Character(one, "delimiter")});
    } else {
      reader.Unknown("pre_tokenizer", type);
    }
  });
}

void ReadDecoder(Reader& reader, const json& from, std::vector<decoders::Step>* steps) {
  ForEachComponent(reader, from, "decoder", "decoders", [&](const json& one, const std::string& type) {
    if (type == "ByteLevel") {
      steps->emplace_back(decoders::ByteLevel());
    } else if (type == "ByteFallback") {
      steps->emplace_back(decoders::ByteFallback());
    } else if (type == "Fuse") {
      steps->emplace_back(decoders::Fuse());
    } else if (type == "Metaspace") {
      steps->emplace_back(decoders::Metaspace{ReadReplacement(reader, one),
                                              ReadPrepend(reader, one) != pre_tokenizers::PrependScheme::kNever});
    } else if (type == "Replace") {
      steps->emplace_back(decoders::Replace{reader.Pattern(one), reader.String(one, "content")});
    } else if (type == "Strip") {
      steps->emplace_back(decoders::Strip{reader.Character(one, "content"),
                                          static_cast<int64_t>(std::min(reader.Unsigned(one, "start", 0), kMostIds)),
                                          static_cast<int64_t>(std::min(reader.Unsigned(one, "stop", 0), kMostIds))});
    } else if (type == "WordPiece") {
      steps->emplace_back(decoders::WordPiece{reader.String(one, "prefix", "##"), reader.Bool(one, "cleanup", true)});
    } else if (type == "BPEDecoder") {
      steps->emplace_back(decoders::BytePair{reader.String(one, "suffix", "</w>")});
    } else {
      reader.Unknown("decoder", type);
    }
  });
}

// {"token": id, ...}
std::vector<std::string> ReadVocabulary(Reader& reader, const json& vocabulary) {
  std::vector<std::string> tokens;
  if (!vocabulary.is_object() || vocabulary.empty()) {
    reader.Broken("model.vocab is not an object of tokens and ids");
    return tokens;
  }
  tokens.resize(vocabulary.size());
  std::vector<bool> given(vocabulary.size());
  for (const auto& [token, id] : vocabulary.items()) {
    const uint64_t number = id.is_number_unsigned() ? id.get<uint64_t>() : kMostIds;
    if (number >= kMostIds) {
      reader.Broken(absl::StrCat("the id of token ", Quoted(token), " is not a whole number below ", kMostIds));
      return tokens;
    }
    if (number >= tokens.size()) {
      tokens.resize(number + 1);
      given.resize(number + 1);
    }
    if (given[number]) {
      reader.Broken(
          absl::StrCat("tokens ", Quoted(tokens[number]), " and ", Quoted(token), " both have the id ", number));
      return tokens;
    }
    tokens[number] = token;
    given[number] = true;
  }
  return tokens;
}

std::optional<std::string> OptionalString(Reader& reader, const json& object, const char* name) {
  if (reader.Member(object, name).is_null()) return std::nullopt;
  return reader.String(object, name);
}

// "a b", or ["a", "b"].
std::pair<std::string, std::string> ReadMerge(Reader& reader, const json& merge) {
  if (merge.is_string()) {
    const std::string& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return {text.substr(0, space), text.substr(space + 1)};
    reader.Broken(absl::StrCat("merge ", Quoted(text), " is not two tokens with one space between"));
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  } else {
    reader.Broken("a merge is not two tokens");
  }
  return {};
}

void ReadBytePairs(Reader& reader, const json& model, language::TokenizerConfig* config) {
  const json& dropout = reader.Member(model, "dropout");
  if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0)) {
    reader.Fail(
        absl::UnimplementedError("model.dropout makes encoding random, which Blazon does not do; set it to null"));
  }
  language::BytePairConfig byte_pairs;
  config->tokens = ReadVocabulary(reader, reader.Member(model, "vocab"));
  const json& merges = reader.Member(model, "merges");
  if (!merges.is_array()) return reader.Broken("model.merges is not a list");
  byte_pairs.merges.reserve(merges.size());
  for (const json& merge : merges) {
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
    byte_pairs.merges.push_back(ReadMerge(reader, merge));
  }
  byte_pairs.unknown = OptionalString(reader, model, "unk_token");
  byte_pairs.fuse_unknown = reader.Bool(model, "fuse_unk", false);
  byte_pairs.byte_fallback = reader.Bool(model, "byte_fallback", false);
  byte_pairs.ignore_merges = reader.Bool(model, "ignore_merges", false);
  byte_pairs.continuing_subword_prefix = reader.String(model, "continuing_subword_prefix", "");
  byte_pairs.end_of_word_suffix = reader.String(model, "end_of_word_suffix", "");
  config->model = std::move(byte_pairs);
}

// The number that serde_json, with which the `tokenizers` package reads its files, makes of a decimal fraction: its
// digits as a double, times or divided by a power of ten. That may be off by a unit in the last place, which decides
// between cuts whose scores are equal.
double AsSerdeReads(double value) {
  std::array<char, 64> text;
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), std::abs(value), std::chars_format::scientific);
  uint64_t digits = 0;
  int exponent = 0;
  const char* at = text.data();
  for (bool behind_point = false; at != end.ptr && *at != 'e'; ++at) {
    if (*at == '.') {
      behind_point = true;
      continue;
    }
    digits = digits * 10 + static_cast<uint64_t>(*at - '0');
    exponent -= behind_point;
  }
  int written = 0;
  std::from_chars(at + (at + 1 != end.ptr && at[1] == '+' ? 2 : 1), end.ptr, written);
  exponent += written;
  if (digits == 0 || std::abs(exponent) > 300) return value;
  double power = 1;
  const std::string spelled = absl::StrCat("1e", std::abs(exponent));
  std::from_chars(spelled.data(), spelled.data() + spelled.size(), power);
  const double read = exponent < 0 ? static_cast<double>(digits) / power : static_cast<double>(digits) * power;
  return std::copysign(read, value);
}

void ReadUnigram(Reader& reader, const json& model, language::TokenizerConfig* config) {
  language::UnigramConfig unigram;
  const json& vocabulary = reader.Member(model, "vocab");
  if (!vocabulary.is_array()) return reader.Broken("model.vocab is not a list of tokens and scores");
  for (const json& entry : vocabulary) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      return reader.Broken("an entry of model.vocab is not a token and a score");
    config->tokens.push_back(entry[0].get<std::string>());
    unigram.scores.push_back(AsSerdeReads(entry[1].get<double>()));
  }
  if (!reader.Member(model, "unk_id").is_null())
    unigram.unknown_id = static_cast<language::TokenId>(std::min(reader.Unsigned(model, "unk_id"), kMostIds));
  unigram.byte_fallback = reader.Bool(model, "byte_fallback", false);
  config->model = std::move(unigram);
}

// Old files have no type: it shows in the members.
std::string ModelType(Reader& reader, const json& model) {
  if (!reader.Member(model, "type").is_null()) return reader.String(model, "type");
  if (!reader.Member(model, "merges").is_null()) return "BPE";
  if (!reader.Member(model, "continuing_subword_prefix").is_null()) return "WordPiece";
  return reader.Member(model, "vocab").is_array() ? "Unigram" : "WordLevel";
}

void ReadModel(Reader& reader, const json& model, language::TokenizerConfig* config) {
  if (!model.is_object()) return reader.Broken("model is not an object");
  const std::string type = ModelType(reader, model);
  if (type == "BPE") {
    ReadBytePairs(reader, model, config);
  } else if (type == "Unigram") {
    ReadUnigram(reader, model, config);
  } else if (type == "WordPiece") {
    config->tokens = ReadVocabulary(reader, reader.Member(model, "vocab"));
    config->model = language::WordPieceConfig{
        .unknown = reader.String(model, "unk_token", "[UNK]"),
        .continuing_subword_prefix = reader.String(model, "continuing_subword_prefix", "##"),
        .max_word_characters =
            static_cast<int64_t>(std::min(reader.Unsigned(model, "max_input_chars_per_word", 100), kMostIds))};
  } else if (type == "WordLevel") {
    config->tokens = ReadVocabulary(reader, reader.Member(model, "vocab"));
    config->model = language::WordLevelConfig{.unknown = OptionalString(reader, model, "unk_token")};
  } else {
    reader.Unknown("model", type);
  }
}

void ReadAddedTokens(Reader& reader, const json& tokens, language::TokenizerConfig* config) {
  if (tokens.is_null()) return;
  if (!tokens.is_array()) return reader.Broken("added_tokens is not a list");
  absl::flat_hash_map<std::string_view, size_t, language::TextHash, std::equal_to<>> ids;
  if (!tokens.empty()) {
    ids.reserve(config->tokens.size());
    for (size_t id = 0; id < config->tokens.size(); ++id) ids[config->tokens[id]] = id;
  }
  for (const json& token : tokens) {
    language::AddedToken added;
    added.content = reader.String(token, "content");
    const auto known = ids.find(added.content);
    const uint64_t id = known != ids.end() ? known->second : reader.Unsigned(token, "id");
    if (id >= kMostIds) return reader.Broken(absl::StrCat("added token ", Quoted(added.content), " has the id ", id));
    added.id = static_cast<language::TokenId>(id);
    added.special = reader.Bool(token, "special", false);
    added.single_word = reader.Bool(token, "single_word", false);
    added.strip_left = reader.Bool(token, "lstrip", false);
    added.strip_right = reader.Bool(token, "rstrip", false);
    added.normalized = reader.Bool(token, "normalized", !added.special);
    if (!added.content.empty()) config->added_tokens.push_back(std::move(added));
  }
}

// ["[SEP]", 102]
language::TokenId ReadTokenAndId(Reader& reader, const json& processor, const char* name) {
  const json& pair = reader.Member(processor, name);
  if (pair.is_array() && pair.size() == 2 && pair[1].is_number_unsigned())
    return static_cast<language::TokenId>(std::min(pair[1].get<uint64_t>(), kMostIds));
  reader.Broken(absl::StrCat("post_processor.", name, " is not a token and its id"));
  return 0;
}

// What a template puts before and behind "A".
void ReadTemplate(Reader& reader, const json& processor, std::vector<language::TokenId>* before,
                  std::vector<language::TokenId>* behind) {
  const json& pieces = reader.Member(processor, "single");
  const json& specials = reader.Member(processor, "special_tokens");
  if (!pieces.is_array()) return reader.Broken("post_processor.single is not a list");
  bool seen = false;
  for (const json& piece : pieces) {
    if (piece.contains("Sequence")) {
      if (seen) return reader.Fail(absl::UnimplementedError("post_processor.single repeats the text"));
      seen = true;
      continue;
    }
    const json& special = reader.Member(specials, reader.String(reader.Member(piece, "SpecialToken"), "id").c_str());
    const json& ids = reader.Member(special, "ids");
    if (!ids.is_array()) return reader.Broken("a special token of post_processor.single has no ids");
    for (const json& id : ids) {
      if (!id.is_number_unsigned())
        return reader.Broken("an id in post_processor.special_tokens is not a whole number");
      (seen ? behind : before)->push_back(static_cast<language::TokenId>(std::min(id.get<uint64_t>(), kMostIds)));
    }
  }
  if (!seen) reader.Broken("post_processor.single leaves out the text");
}

void ReadPostProcessor(Reader& reader, const json& from, language::TokenizerConfig* config) {
  ForEachComponent(reader, from, "post_processor", "processors", [&](const json& one, const std::string& type) {
    std::vector<language::TokenId> before, behind;
    if (type == "TemplateProcessing") {
      ReadTemplate(reader, one, &before, &behind);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      before = {ReadTokenAndId(reader, one, "cls")};
      behind = {ReadTokenAndId(reader, one, "sep")};
    } else if (type != "ByteLevel") {  // which moves offsets only
      reader.Unknown("post_processor", type);
    }
    config->prefix.insert(config->prefix.begin(), before.begin(), before.end());
    config->suffix.insert(config->suffix.end(), behind.begin(), behind.end());
  });
}

}  // namespace

absl::StatusOr<language::TokenizerConfig> ReadTokenizerJson(std::string_view text) {
  const absl::StatusOr<json> parsed = ParseJson(text);
  if (!parsed.ok()) return parsed.status();
  const json& root = *parsed;
  if (!root.is_object()) return absl::DataLossError("not a JSON object");
  Reader reader;
  const std::string version = reader.String(root, "version", "1.0");
  if (version != "1.0")
    reader.Fail(absl::UnimplementedError(absl::StrCat("version ", Quoted(version), "; Blazon reads 1.0")));
  language::TokenizerConfig config;
  ReadModel(reader, reader.Member(root, "model"), &config);
  ReadNormalizer(reader, reader.Member(root, "normalizer"), &config.normalizer);
  ReadPreTokenizer(reader, reader.Member(root, "pre_tokenizer"), &config.pre_tokenizer);
  ReadDecoder(reader, reader.Member(root, "decoder"), &config.decoder);
  ReadAddedTokens(reader, reader.Member(root, "added_tokens"), &config);
  ReadPostProcessor(reader, reader.Member(root, "post_processor"), &config);
  if (!reader.status().ok()) return reader.status();
  return config;
}

}  // namespace blazon::service
