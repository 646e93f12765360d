// GGUF's vocabularies ("tokenizer.ggml.*"): token texts, types and scores or merges, and a name for the cutting of
// text; read and written.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/pipeline_tokenizer.h"
#include "language/tokenizer/utf8.h"
#include "service/checkpoint/gguf_vocabulary.h"
#include "service/checkpoint/quoted.h"
#include "service/checkpoint/tokenizer_loader.h"

namespace blazon::service {
namespace {

using language::TokenizerConfig;
namespace decoders = language::decoders;
namespace normalizers = language::normalizers;
namespace pre_tokenizers = language::pre_tokenizers;

// "tokenizer.ggml.token_type".
enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr char kSpaceMark[] = "\u2581";  // SentencePiece's spelling of a space

// What all the models have.
struct GgufVocabulary {
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
};

absl::StatusOr<GgufVocabulary> ReadVocabulary(const GgufFile& file) {
  const absl::StatusOr<std::vector<std::string_view>> tokens = file.Strings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return tokens.status();
  GgufVocabulary vocabulary;
  for (const std::string_view token : *tokens) {
    if (!language::IsValidUtf8(token))
      return absl::DataLossError(absl::StrCat("token ", vocabulary.tokens.size(), " is not UTF-8"));
    vocabulary.tokens.emplace_back(token);
  }
  const absl::StatusOr<std::vector<int64_t>> types = file.Integers("tokenizer.ggml.token_type");
  if (!types.ok()) return types.status();
  if (types->size() != tokens->size()) {
    return absl::DataLossError(absl::StrCat(tokens->size(), " tokens, but ", types->size(), " token types"));
  }
  vocabulary.types = *types;
  return vocabulary;
}

// Control tokens and tokens that users defined are found as they are spelled.
void AddTokens(const GgufVocabulary& vocabulary, TokenizerConfig* config) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const int64_t type = vocabulary.types[id];
    if (type != kControl && type != kUnknown && type != kUserDefined) continue;
    config->added_tokens.push_back(
        {.content = vocabulary.tokens[id], .id = static_cast<language::TokenId>(id), .special = type != kUserDefined});
  }
}

absl::StatusOr<bool> Flag(const GgufFile& file, std::string_view key, bool fallback) {
  return file.Has(key) ? file.Bool(key) : fallback;
}

// The token that `key` names, when `flag` asks for it.
absl::Status AddAround(const GgufFile& file, std::string_view flag, bool fallback, std::string_view key,
                       std::vector<language::TokenId>* ids) {
  const absl::StatusOr<bool> add = Flag(file, flag, fallback);
  if (!add.ok()) return add.status();
  if (!*add || (!file.Has(flag) && !file.Has(key))) return absl::OkStatus();
  const absl::StatusOr<int64_t> id = file.Integer(key);
  if (!id.ok()) return id.status();
  if (*id < 0 || *id > INT32_MAX) return absl::DataLossError(absl::StrCat(std::string(key), " is ", *id));
  ids->push_back(static_cast<language::TokenId>(*id));
  return absl::OkStatus();
}

absl::Status AddBosAndEos(const GgufFile& file, bool bos, bool eos, TokenizerConfig* config) {
  absl::Status status =
      AddAround(file, "tokenizer.ggml.add_bos_token", bos, "tokenizer.ggml.bos_token_id", &config->prefix);
  if (!status.ok()) return status;
  return AddAround(file, "tokenizer.ggml.add_eos_token", eos, "tokenizer.ggml.eos_token_id", &config->suffix);
}

constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kBloomPattern[] = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";

// The steps of the family that converters name so.
absl::Status SetPreTokenizer(std::string_view name, TokenizerConfig* config, language::BytePairConfig* byte_pairs,
                             bool* bos) {
  const auto pattern = [&](const char* regex) {
    config->pre_tokenizer = {pre_tokenizers::Split{.pattern = {regex, /*regex=*/true}},
                             pre_tokenizers::ByteLevel{.add_prefix_space = false, .use_regex = false}};
  };
  if (name == "gpt-2") {
    config->pre_tokenizer = {pre_tokenizers::ByteLevel{.add_prefix_space = false}};
  } else if (name == "smollm") {
    config->pre_tokenizer = {pre_tokenizers::Digits{.individual = true},
                             pre_tokenizers::ByteLevel{.add_prefix_space = false}};
  } else if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") {
    pattern(kLlama3Pattern);
    byte_pairs->ignore_merges = true;
    *bos = true;
  } else if (name == "qwen2") {
    config->normalizer = {normalizers::UnicodeForm::kNfc};
    pattern(kQwen2Pattern);
  } else if (name == "bloom") {
    pattern(kBloomPattern);
  } else {
    return absl::UnimplementedError(
        absl::StrCat("pre-tokeniser ", Quoted(name),
                     "; Blazon knows \"gpt-2\", \"smollm\", \"llama-bpe\", \"llama3\", \"llama-v3\", \"qwen2\" and "
                     "\"bloom\". Use the model's Hugging Face folder instead"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenizerConfig> ReadByteLevel(const GgufFile& file) {
  const absl::StatusOr<std::string_view> pre = file.String("tokenizer.ggml.pre");
  if (!pre.ok()) return pre.status();
  TokenizerConfig config;
  language::BytePairConfig byte_pairs;
  bool bos = false;
  if (absl::Status status = SetPreTokenizer(*pre, &config, &byte_pairs, &bos); !status.ok()) return status;
  const absl::StatusOr<bool> space = Flag(file, "tokenizer.ggml.add_space_prefix", false);
  if (!space.ok()) return space.status();
  if (*space) return absl::UnimplementedError("a byte-level tokenizer that puts a space before the text is not read");
  const absl::StatusOr<GgufVocabulary> vocabulary = ReadVocabulary(file);
  if (!vocabulary.ok()) return vocabulary.status();
  const absl::StatusOr<std::vector<std::string_view>> merges = file.Strings("tokenizer.ggml.merges");
  if (!merges.ok()) return merges.status();
  for (const std::string_view merge : *merges) {
    const size_t space_at = merge.find(' ');  // the byte alphabet has no space
    if (space_at == std::string_view::npos)
      return absl::DataLossError(absl::StrCat("merge ", Quoted(merge), " has no space"));
    byte_pairs.merges.emplace_back(merge.substr(0, space_at), merge.substr(space_at + 1));
  }
  AddTokens(*vocabulary, &config);
  config.tokens = vocabulary->tokens;
  config.model = std::move(byte_pairs);
  config.decoder = {decoders::ByteLevel()};
  if (absl::Status status = AddBosAndEos(file, bos, /*eos=*/false, &config); !status.ok()) return status;
  return config;
}

// What the two tokenizers of SentencePiece have in common.
struct SentencePiece {
  GgufVocabulary vocabulary;
  std::vector<double> scores;
  bool space_before = false;     // a space is put before the text
  bool collapse_spaces = false;  // runs of spaces become one, those at the ends go
};

absl::StatusOr<SentencePiece> ReadSentencePiece(const GgufFile& file, bool collapse_fallback) {
  absl::StatusOr<GgufVocabulary> vocabulary = ReadVocabulary(file);
  if (!vocabulary.ok()) return vocabulary.status();
  absl::StatusOr<std::vector<double>> scores = file.Numbers("tokenizer.ggml.scores");
  if (!scores.ok()) return scores.status();
  const absl::StatusOr<bool> space = Flag(file, "tokenizer.ggml.add_space_prefix", true);
  if (!space.ok()) return space.status();
  const absl::StatusOr<bool> collapse = Flag(file, "tokenizer.ggml.remove_extra_whitespaces", collapse_fallback);
  if (!collapse.ok()) return collapse.status();
  return SentencePiece{*std::move(vocabulary), *std::move(scores), *space, *collapse};
}

// SentencePiece's BPE: neighbours merge by the score of what they make.
absl::StatusOr<TokenizerConfig> ReadSentencePieceBytePairs(const GgufFile& file) {
  const absl::StatusOr<SentencePiece> pieces = ReadSentencePiece(file, /*collapse_fallback=*/false);
  if (!pieces.ok()) return pieces.status();
  const GgufVocabulary& vocabulary = pieces->vocabulary;
  if (pieces->collapse_spaces)
    return absl::UnimplementedError("a \"llama\" tokenizer that removes extra white space is not read");
  TokenizerConfig config;
  language::BytePairConfig byte_pairs;
  byte_pairs.scores.assign(pieces->scores.begin(), pieces->scores.end());
  byte_pairs.byte_fallback = true;
  byte_pairs.fuse_unknown = true;
  for (size_t id = 0; id < vocabulary.types.size(); ++id) {
    const int64_t type = vocabulary.types[id];
    byte_pairs.mergeable.push_back(type == kNormal || type == kUserDefined || type == kUnused);
    if (type == kUnknown && !byte_pairs.unknown) byte_pairs.unknown = vocabulary.tokens[id];
  }
  constexpr char kUnknownKey[] = "tokenizer.ggml.unknown_token_id";  // converters of Gemma call it a control token
  if (!byte_pairs.unknown && file.Has(kUnknownKey)) {
    const absl::StatusOr<int64_t> id = file.Integer(kUnknownKey);
    if (!id.ok()) return id.status();
    if (*id < 0 || *id >= static_cast<int64_t>(vocabulary.tokens.size()))
      return absl::DataLossError(absl::StrCat(kUnknownKey, " is ", *id, ", outside the vocabulary"));
    byte_pairs.unknown = vocabulary.tokens[*id];
  }
  if (pieces->space_before) config.normalizer.emplace_back(normalizers::Prepend{kSpaceMark});
  config.normalizer.emplace_back(normalizers::Replace{{" ", /*regex=*/false}, kSpaceMark});
  config.decoder = {decoders::Replace{{kSpaceMark, /*regex=*/false}, " "}, decoders::ByteFallback(), decoders::Fuse()};
  if (pieces->space_before) config.decoder.emplace_back(decoders::Strip{.start = 1});
  AddTokens(vocabulary, &config);
  config.tokens = vocabulary.tokens;
  config.model = std::move(byte_pairs);
  if (absl::Status status = AddBosAndEos(file, /*bos=*/true, /*eos=*/false, &config); !status.ok()) return status;
  return config;
}

// WordPiece. Converters write "##ing" as "ing" and "word" as SentencePiece's mark and "word"; of the flags of BERT's
// normaliser a GGUF keeps none, and its models are taken to be uncased, as everywhere.
absl::StatusOr<TokenizerConfig> ReadBert(const GgufFile& file) {
  absl::StatusOr<GgufVocabulary> vocabulary = ReadVocabulary(file);
  if (!vocabulary.ok()) return vocabulary.status();
  TokenizerConfig config;
  AddTokens(*vocabulary, &config);
  language::WordPieceConfig word_piece;
  for (size_t id = 0; id < vocabulary->tokens.size(); ++id) {
    std::string& token = vocabulary->tokens[id];
    if (vocabulary->types[id] == kUnknown) word_piece.unknown = token;
    if (vocabulary->types[id] != kNormal) continue;
    if (token.starts_with(kSpaceMark)) {
      token.erase(0, std::string_view(kSpaceMark).size());
    } else if (!(token.starts_with("[") && token.ends_with("]"))) {
      token.insert(0, word_piece.continuing_subword_prefix);
    }
  }
  config.tokens = std::move(vocabulary->tokens);
  config.model = std::move(word_piece);
  config.normalizer = {normalizers::Bert()};
  config.pre_tokenizer = {pre_tokenizers::Bert()};
  config.decoder = {decoders::WordPiece()};
  if (absl::Status status = AddAround(
          file, "tokenizer.ggml.add_bos_token", /*fallback=*/true,
          file.Has("tokenizer.ggml.cls_token_id") ? "tokenizer.ggml.cls_token_id" : "tokenizer.ggml.bos_token_id",
          &config.prefix);
      !status.ok())
    return status;
  if (absl::Status status =
          AddAround(file, "tokenizer.ggml.add_sep_token", /*fallback=*/true,
                    file.Has("tokenizer.ggml.seperator_token_id") ? "tokenizer.ggml.seperator_token_id"
                                                                  : "tokenizer.ggml.eos_token_id",
                    &config.suffix);
      !status.ok())
    return status;
  return config;
}

// SentencePiece's Unigram.
absl::StatusOr<TokenizerConfig> ReadUnigram(const GgufFile& file) {
  const absl::StatusOr<SentencePiece> pieces = ReadSentencePiece(file, /*collapse_fallback=*/true);
  if (!pieces.ok()) return pieces.status();
  const GgufVocabulary& vocabulary = pieces->vocabulary;
  TokenizerConfig config;
  language::UnigramConfig unigram;
  unigram.scores = pieces->scores;
  for (size_t id = 0; id < vocabulary.types.size(); ++id) {
    const int64_t type = vocabulary.types[id];
    unigram.findable.push_back(type == kNormal || type == kUserDefined);
    unigram.byte_fallback |= type == kByte;
    if (type == kUnknown && !unigram.unknown_id) unigram.unknown_id = static_cast<language::TokenId>(id);
  }
  if (file.Has("tokenizer.ggml.precompiled_charsmap")) {
    const absl::StatusOr<std::vector<int64_t>> table = file.Integers("tokenizer.ggml.precompiled_charsmap");
    if (!table.ok()) return table.status();
    normalizers::Precompiled precompiled;
    for (const int64_t byte : *table) precompiled.charsmap.push_back(static_cast<char>(byte));
    if (!precompiled.charsmap.empty()) config.normalizer.emplace_back(std::move(precompiled));
  }
  if (pieces->collapse_spaces) {
    config.normalizer.emplace_back(normalizers::Strip());
    config.normalizer.emplace_back(normalizers::Replace{{" {2,}", /*regex=*/true}, " "});
  }
  const auto prepend =
      pieces->space_before ? pre_tokenizers::PrependScheme::kAlways : pre_tokenizers::PrependScheme::kNever;
  config.pre_tokenizer = {pre_tokenizers::Metaspace{.prepend = prepend}};
  config.decoder = {decoders::Metaspace{.prepended = pieces->space_before}};
  AddTokens(vocabulary, &config);
  config.tokens = vocabulary.tokens;
  config.model = std::move(unigram);
  if (absl::Status status = AddBosAndEos(file, /*bos=*/false, /*eos=*/true, &config); !status.ok()) return status;
  return config;
}

absl::StatusOr<TokenizerConfig> ReadConfig(const GgufFile& file) {
  const absl::StatusOr<std::string_view> model = file.String("tokenizer.ggml.model");
  if (!model.ok()) return model.status();
  if (*model == "gpt2") return ReadByteLevel(file);
  if (*model == "llama") return ReadSentencePieceBytePairs(file);
  if (*model == "bert") return ReadBert(file);
  if (*model == "t5") return ReadUnigram(file);
  return absl::UnimplementedError(
      absl::StrCat("tokenizer model ", Quoted(*model), "; Blazon reads \"gpt2\", \"llama\", \"bert\" and \"t5\""));
}

// ---- Writing.

// Families cut this each in its own way: contractions, digits, runs of spaces and line ends, marks, composed letters.
constexpr char kCutApart[] =
    "It's we'LL I'd 1234567 3.14 $99,  two   spaces\t\n\n \n end!!? (a)[b] e\u0301t\u00e9 \u4f60\u597d "
    "\u3002don't_stop https://a.b/c?d=1 \U0001F600\u2026 x=y+z;  \r\n";

// The name of the family whose steps cut as those of `config` do; "": of none.
std::string FamilyOf(const TokenizerConfig& config) {
  const auto encode = [](TokenizerConfig each) -> absl::StatusOr<std::vector<language::TokenId>> {
    auto tokenizer = language::PipelineTokenizer::Create(std::move(each));
    if (!tokenizer.ok()) return tokenizer.status();
    return (*tokenizer)->Encode(kCutApart);
  };
  const auto expected = encode(config);
  if (!expected.ok()) return "";
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2", "bloom"}) {
    TokenizerConfig candidate = config;
    candidate.normalizer.clear();
    candidate.pre_tokenizer.clear();
    auto& byte_pairs = std::get<language::BytePairConfig>(candidate.model);
    byte_pairs.ignore_merges = false;
    bool bos = false;
    if (!SetPreTokenizer(name, &candidate, &byte_pairs, &bos).ok()) continue;
    if (byte_pairs.ignore_merges != std::get<language::BytePairConfig>(config.model).ignore_merges) continue;
    const auto cut = encode(std::move(candidate));
    if (cut.ok() && *cut == *expected) return name;
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<language::Tokenizer>> LoadGgufTokenizer(const GgufFile& file) {
  const auto at_file = [&](const absl::Status& status) {
    const bool keeps = absl::IsUnimplemented(status) || absl::IsNotFound(status);
    return absl::Status(keeps ? status.code() : absl::StatusCode::kDataLoss,
                        absl::StrCat(file.path().string(), ": ", status.message()));
  };
  absl::StatusOr<TokenizerConfig> config = ReadConfig(file);
  if (!config.ok()) return at_file(config.status());
  auto tokenizer = language::PipelineTokenizer::Create(*std::move(config));
  if (!tokenizer.ok()) return at_file(tokenizer.status());
  return std::unique_ptr<language::Tokenizer>(*std::move(tokenizer));
}

absl::Status CopyGgufVocabulary(const GgufFile& file, GgufWriter& writer) {
  for (const std::string_view key : file.keys()) {
    if (!key.starts_with("tokenizer.")) continue;
    if (const auto text = file.String(key); text.ok()) {
      writer.Set(key, *text);
    } else if (const auto flag = file.Bool(key); flag.ok()) {
      writer.SetBool(key, *flag);
    } else if (const auto number = file.Integer(key); number.ok() && *number >= 0 && *number <= UINT32_MAX) {
      writer.SetUnsigned(key, static_cast<uint32_t>(*number));
    } else if (const auto texts = file.Strings(key); texts.ok()) {
      writer.Set(key, std::vector<std::string>(texts->begin(), texts->end()));
    } else if (const auto integers = file.Integers(key); integers.ok()) {
      writer.Set(key, std::vector<int32_t>(integers->begin(), integers->end()));
    } else if (const auto numbers = file.Numbers(key); numbers.ok()) {
      writer.Set(key, std::vector<float>(numbers->begin(), numbers->end()));
    } else {
      return absl::UnimplementedError(absl::StrCat("metadata ", Quoted(key), " is of a kind that is not written"));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteGgufVocabulary(const TokenizerConfig& config, int64_t size, GgufWriter& writer) {
  const auto* byte_pairs = std::get_if<language::BytePairConfig>(&config.model);
  bool bytes = byte_pairs != nullptr && byte_pairs->scores.empty() && !byte_pairs->byte_fallback;
  for (const decoders::Step& step : config.decoder) bytes &= std::holds_alternative<decoders::ByteLevel>(step);
  const std::string family = bytes ? FamilyOf(config) : "";
  if (family.empty()) {
    return absl::UnimplementedError(
        "its tokenizer cannot be written as GGUF: only byte-level BPE that cuts text as GPT-2, SmolLM, Llama 3, Qwen2 "
        "or "
        "BLOOM does can");
  }
  std::vector<std::string> tokens = config.tokens;
  std::vector<int32_t> types;
  for (const std::string& token : tokens) types.push_back(token.empty() ? kUnused : kNormal);
  for (const language::AddedToken& added : config.added_tokens) {
    if (added.id < 0 || added.id >= size)
      return absl::DataLossError(absl::StrCat("token ", Quoted(added.content), " lies behind the embedding's rows"));
    if (static_cast<size_t>(added.id) >= tokens.size()) {
      tokens.resize(added.id + 1);
      types.resize(added.id + 1, kUnused);
    }
    tokens[added.id] = added.content;
    types[added.id] = added.special ? kControl : kUserDefined;
  }
  if (static_cast<int64_t>(tokens.size()) > size)
    return absl::DataLossError(
        absl::StrCat("the tokenizer has ", tokens.size(), " tokens, the embedding ", size, " rows"));
  tokens.resize(size);
  types.resize(size, kUnused);
  for (int64_t id = 0; id < size; ++id) {
    if (tokens[id].empty()) tokens[id] = absl::StrCat("[PAD", id, "]");  // spellings must differ
  }
  std::vector<std::string> merges;
  for (const auto& [left, right] : byte_pairs->merges) merges.push_back(absl::StrCat(left, " ", right));
  writer.Set("tokenizer.ggml.model", "gpt2");
  writer.Set("tokenizer.ggml.pre", family);
  writer.Set("tokenizer.ggml.tokens", tokens);
  writer.Set("tokenizer.ggml.token_type", types);
  writer.Set("tokenizer.ggml.merges", merges);
  writer.SetBool("tokenizer.ggml.add_bos_token", !config.prefix.empty());
  writer.SetBool("tokenizer.ggml.add_eos_token", !config.suffix.empty());
  return absl::OkStatus();
}

}  // namespace blazon::service
