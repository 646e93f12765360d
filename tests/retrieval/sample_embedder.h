// What the tests of retrieval share: a cheap, deterministic embedder (a hashed bag of words, so that texts with common
// words are near), documents made from text, and a folder that is gone afterwards.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "retrieval/collection.h"

namespace blazon::retrieval {

// `calls`, when given, counts the texts embedded. A token is up to 6 bytes of a word; two control tokens.
Embedder SampleEmbedder(int64_t dimension = 32, std::shared_ptr<std::atomic<int64_t>> calls = nullptr,
                        const std::string& fingerprint = "bag-of-words/1");

Document TextDocument(const std::string& path, const std::string& text, const std::string& source = "tests");

CollectionOptions WriteOptions(int64_t dimension = 32);
CollectionOptions ReadOptions(int64_t dimension = 32);

class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }
  operator std::filesystem::path() const { return path_; }  // NOLINT

 private:
  std::filesystem::path path_;
};

void WriteFile(const std::filesystem::path& file, std::string_view content);
std::string ReadFile(const std::filesystem::path& file);

}  // namespace blazon::retrieval
