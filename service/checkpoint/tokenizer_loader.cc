#include "service/checkpoint/tokenizer_loader.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "language/tokenizer/pipeline_tokenizer.h"
#include "language/tokenizer/utf8.h"
#include "service/checkpoint/json_file.h"
#include "service/checkpoint/mapped_file.h"
#include "service/checkpoint/quoted.h"
#include "service/checkpoint/tokenizer_json.h"

namespace blazon::service {
namespace {

using language::PipelineTokenizer;
using language::TokenizerConfig;
using nlohmann::json;
namespace decoders = language::decoders;
namespace normalizers = language::normalizers;
namespace pre_tokenizers = language::pre_tokenizers;

// The same failure, naming the file; what a file's tables contradict is the file's fault, not the caller's.
absl::Status AtFile(const std::filesystem::path& path, const absl::Status& status) {
  const absl::StatusCode code =
      absl::IsUnimplemented(status) || absl::IsNotFound(status) ? status.code() : absl::StatusCode::kDataLoss;
  return absl::Status(code, absl::StrCat(path.string(), ": ", status.message()));
}

bool HasFile(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

absl::StatusOr<std::string> ReadText(const std::filesystem::path& path) {
  const absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  return std::string(reinterpret_cast<const char*>((*file)->bytes().data()), (*file)->bytes().size());
}

// Members of JSON objects; a member of another type counts as missing.
const json& Member(const json& object, const char* name) {
  static const json& null = *new json();
  const auto found = object.find(name);
  return object.is_object() && found != object.end() ? *found : null;
}
bool Flag(const json& object, const char* name, bool fallback) {
  const json& member = Member(object, name);
  return member.is_boolean() ? member.get<bool>() : fallback;
}
// A token is a string, or an object with its "content".
std::string Text(const json& object, const char* name, const std::string& fallback) {
  const json& member = Member(object, name);
  if (member.is_object()) return Text(member, "content", fallback);
  return member.is_string() ? member.get<std::string>() : fallback;
}

// tokenizer_config.json of a folder; an empty object where there is none.
absl::StatusOr<json> ReadTokenizerConfig(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  if (!HasFile(path)) return json::object();
  return ReadJsonFile(path);
}

// Adds what add_bos_token and add_eos_token of tokenizer_config.json ask for.
absl::Status AddBosAndEos(const json& config, TokenizerConfig* tokenizer) {
  for (const auto& [flag, name, ids] : {std::tuple("add_bos_token", "bos_token", &tokenizer->prefix),
                                        std::tuple("add_eos_token", "eos_token", &tokenizer->suffix)}) {
    if (!Flag(config, flag, false)) continue;
    const std::string spelling = Text(config, name, "");
    std::optional<size_t> id;
    for (const language::AddedToken& added : tokenizer->added_tokens) {
      if (added.content == spelling) id = static_cast<size_t>(added.id);
    }
    const auto found = std::find(tokenizer->tokens.begin(), tokenizer->tokens.end(), spelling);
    if (!id && !spelling.empty() && found != tokenizer->tokens.end()) id = found - tokenizer->tokens.begin();
    if (!id) {
      return absl::DataLossError(absl::StrCat("tokenizer_config.json sets ", flag, ", but its ", name, " ",
                                              Quoted(spelling), " is not in the vocabulary"));
    }
    ids->push_back(static_cast<language::TokenId>(*id));
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenizerConfig> FromTokenizerJson(const std::filesystem::path& path, const json& config) {
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<TokenizerConfig> tokenizer = ReadTokenizerJson(*text);
  if (!tokenizer.ok()) return tokenizer.status();
  if (tokenizer->prefix.empty() && tokenizer->suffix.empty()) {
    if (absl::Status status = AddBosAndEos(config, &*tokenizer); !status.ok()) return status;
  }
  return tokenizer;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin - (end > begin && text[end - 1] == '\r' ? 1 : 0)));
    begin = end + 1;
  }
  return lines;
}

// Tokens that tokenizer_config.json lists by id, as transformers writes them.
absl::Status ReadAddedTokensDecoder(const json& config, TokenizerConfig* tokenizer) {
  for (const auto& [id, token] : Member(config, "added_tokens_decoder").items()) {
    uint32_t number = 0;
    if (!absl::SimpleAtoi(id, &number) || number > INT32_MAX || !Member(token, "content").is_string())
      return absl::DataLossError(absl::StrCat("added_tokens_decoder has an entry ", Quoted(id), " that is no token"));
    tokenizer->added_tokens.push_back({.content = Text(token, "content", ""),
                                       .id = static_cast<language::TokenId>(number),
                                       .special = Flag(token, "special", false),
                                       .single_word = Flag(token, "single_word", false),
                                       .strip_left = Flag(token, "lstrip", false),
                                       .strip_right = Flag(token, "rstrip", false),
                                       .normalized = Flag(token, "normalized", false)});
  }
  return absl::OkStatus();
}

// vocab.json and merges.txt.
absl::StatusOr<TokenizerConfig> FromVocabAndMerges(const std::filesystem::path& folder, const json& config) {
  const absl::StatusOr<json> vocabulary = ReadJsonFile(folder / "vocab.json");
  if (!vocabulary.ok()) return vocabulary.status();
  const absl::StatusOr<std::string> merges = ReadText(folder / "merges.txt");
  if (!merges.ok()) return merges.status();
  json root = {{"model", {{"type", "BPE"}, {"vocab", *vocabulary}, {"merges", json::array()}}}};
  for (std::string& line : Lines(*merges)) {
    if (!line.empty()) root["model"]["merges"].push_back(std::move(line));
  }
  absl::StatusOr<TokenizerConfig> tokenizer = ReadTokenizerJson(root.dump());
  if (!tokenizer.ok()) return tokenizer.status();
  tokenizer->pre_tokenizer = {pre_tokenizers::ByteLevel{.add_prefix_space = Flag(config, "add_prefix_space", false)}};
  tokenizer->decoder = {decoders::ByteLevel()};
  if (absl::Status status = ReadAddedTokensDecoder(config, &*tokenizer); !status.ok()) return status;
  constexpr std::string_view kEndOfText = "<|endoftext|>";  // GPT-2's only control token
  const auto end = std::find(tokenizer->tokens.begin(), tokenizer->tokens.end(), kEndOfText);
  if (tokenizer->added_tokens.empty() && end != tokenizer->tokens.end()) {
    tokenizer->added_tokens.push_back({.content = std::string(kEndOfText),
                                       .id = static_cast<language::TokenId>(end - tokenizer->tokens.begin()),
                                       .special = true});
  }
  if (absl::Status status = AddBosAndEos(config, &*tokenizer); !status.ok()) return status;
  return tokenizer;
}

// BERT's control tokens, found where the vocabulary has them.
TokenizerConfig BertTokenizer(std::vector<std::string> tokens, std::string unknown) {
  TokenizerConfig tokenizer;
  tokenizer.tokens = std::move(tokens);
  for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    const auto found = std::find(tokenizer.tokens.begin(), tokenizer.tokens.end(), special);
    if (found == tokenizer.tokens.end()) continue;
    const auto id = static_cast<language::TokenId>(found - tokenizer.tokens.begin());
    tokenizer.added_tokens.push_back({.content = special, .id = id, .special = true});
    if (std::string_view(special) == "[CLS]") tokenizer.prefix = {id};
    if (std::string_view(special) == "[SEP]") tokenizer.suffix = {id};
  }
  tokenizer.model = language::WordPieceConfig{.unknown = std::move(unknown)};
  tokenizer.normalizer = {normalizers::Bert()};
  tokenizer.pre_tokenizer = {pre_tokenizers::Bert()};
  tokenizer.decoder = {decoders::WordPiece()};
  return tokenizer;
}

// vocab.txt, one token a line.
absl::StatusOr<TokenizerConfig> FromVocabTxt(const std::filesystem::path& path, const json& config) {
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) return text.status();
  if (!language::IsValidUtf8(*text)) return absl::DataLossError("not UTF-8");
  TokenizerConfig tokenizer = BertTokenizer(Lines(*text), Text(config, "unk_token", "[UNK]"));
  const bool lowercase = Flag(config, "do_lower_case", true);  // strip_accents follows it where it is null
  tokenizer.normalizer = {normalizers::Bert{.clean_text = Flag(config, "clean_text", true),
                                            .split_cjk = Flag(config, "tokenize_chinese_chars", true),
                                            .strip_accents = Flag(config, "strip_accents", lowercase),
                                            .lowercase = lowercase}};
  return tokenizer;
}

void AddControlTokens(absl::Span<const std::string> spellings, TokenizerConfig& config) {
  auto next = static_cast<language::TokenId>(config.tokens.size());
  for (const language::AddedToken& token : config.added_tokens) next = std::max(next, token.id + 1);
  for (const std::string& spelling : spellings) {
    const auto added = std::find_if(config.added_tokens.begin(), config.added_tokens.end(),
                                    [&](const language::AddedToken& token) { return token.content == spelling; });
    if (added != config.added_tokens.end()) {
      added->special = true;
      continue;
    }
    const auto known = std::find(config.tokens.begin(), config.tokens.end(), spelling);
    const auto id =
        known != config.tokens.end() ? static_cast<language::TokenId>(known - config.tokens.begin()) : next++;
    config.added_tokens.push_back({.content = spelling, .id = id, .special = true});
  }
}

absl::StatusOr<std::unique_ptr<language::Tokenizer>> Create(const std::filesystem::path& path,
                                                            absl::StatusOr<TokenizerConfig> config,
                                                            absl::Span<const std::string> control_tokens) {
  if (!config.ok()) return AtFile(path, config.status());
  AddControlTokens(control_tokens, *config);
  absl::StatusOr<std::unique_ptr<PipelineTokenizer>> tokenizer = PipelineTokenizer::Create(*std::move(config));
  if (!tokenizer.ok()) return AtFile(path, tokenizer.status());
  return std::unique_ptr<language::Tokenizer>(*std::move(tokenizer));
}

}  // namespace

absl::StatusOr<std::unique_ptr<language::Tokenizer>> LoadTokenizer(const std::filesystem::path& folder,
                                                                   absl::Span<const std::string> control_tokens) {
  const absl::StatusOr<json> config = ReadTokenizerConfig(folder);
  if (!config.ok()) return config.status();
  const std::filesystem::path whole = folder / "tokenizer.json", words = folder / "vocab.txt";
  if (HasFile(whole)) return Create(whole, FromTokenizerJson(whole, *config), control_tokens);
  if (HasFile(folder / "vocab.json") && HasFile(folder / "merges.txt"))
    return Create(folder / "vocab.json", FromVocabAndMerges(folder, *config), control_tokens);
  if (HasFile(words)) return Create(words, FromVocabTxt(words, *config), control_tokens);
  return absl::NotFoundError(absl::StrCat(folder.string(),
                                          " has no tokenizer: neither tokenizer.json, nor vocab.json with merges.txt, "
                                          "nor vocab.txt. Name a folder that has one with --tokenizer DIR."));
}

}  // namespace blazon::service
