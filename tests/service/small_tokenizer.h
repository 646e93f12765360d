// A tokenizer of single characters for small checkpoints of text.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace blazon::service {

// tokenizer.json of small letters, the space, the line break, full stop and comma; id 0 is "<end>". It fits the
// vocabularies of tests/goldens/families.json.
inline void WriteCharacterTokenizer(const std::filesystem::path& folder) {
  nlohmann::json vocabulary = {{"<end>", 0}};
  int next = 1;
  for (char c = 'a'; c <= 'z'; ++c) vocabulary[std::string(1, c)] = next++;
  for (const char* other : {"Ġ", "Ċ", ".", ","}) vocabulary[other] = next++;
  const nlohmann::json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const nlohmann::json end = {
      {"id", 0},         {"content", "<end>"}, {"special", true}, {"normalized", false}, {"single_word", false},
      {"lstrip", false}, {"rstrip", false}};
  std::ofstream(folder / "tokenizer.json") << nlohmann::json{
      {"version", "1.0"},
      {"added_tokens", {end}},
      {"normalizer", nullptr},
      {"pre_tokenizer", bytes},
      {"post_processor", nullptr},
      {"decoder", bytes},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}, {"unk_token", nullptr}}}};
  std::ofstream(folder / "tokenizer_config.json") << nlohmann::json{{"eos_token", "<end>"}};
}

}  // namespace blazon::service
