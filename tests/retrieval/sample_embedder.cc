#include "sample_embedder.h"

#include <stdlib.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "retrieval/document_loader.h"
#include "retrieval/words.h"

namespace blazon::retrieval {

Embedder SampleEmbedder(int64_t dimension, std::shared_ptr<std::atomic<int64_t>> calls,
                        const std::string& fingerprint) {
  Embedder embedder;
  embedder.dimension = dimension;
  embedder.max_tokens = 256;
  embedder.fingerprint = fingerprint;
  embedder.count_tokens = [](std::string_view text) {
    int64_t tokens = 2, length = 0;
    for (const char c : text) {
      const bool space = c == ' ' || c == '\n' || c == '\t';
      if (!space && length++ % 6 == 0) ++tokens;
      if (space) length = 0;
    }
    return tokens;
  };
  embedder.embed = [dimension, calls](absl::Span<const std::string> texts) -> absl::StatusOr<std::vector<float>> {
    std::vector<float> rows(texts.size() * static_cast<size_t>(dimension));
    for (size_t i = 0; i < texts.size(); ++i) {
      float* row = rows.data() + i * static_cast<size_t>(dimension);
      row[0] = 0.1f;  // a text without words has a direction too
      for (const std::string& word : Words(texts[i])) {
        uint64_t hash = 1469598103934665603u;
        for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
        for (int64_t d = 0; d < dimension; ++d) {
          hash = hash * 6364136223846793005u + 1442695040888963407u;
          row[d] += static_cast<float>(static_cast<int32_t>(hash >> 32)) / 2147483648.0f;
        }
      }
      double norm = 0;
      for (int64_t d = 0; d < dimension; ++d) norm += static_cast<double>(row[d]) * row[d];
      for (int64_t d = 0; d < dimension; ++d) row[d] = static_cast<float>(row[d] / std::sqrt(norm));
    }
    if (calls) *calls += static_cast<int64_t>(texts.size());
    return rows;
  };
  // A piece means the same in every text.
  embedder.embed_pieces =
      [embed = embedder.embed](
          absl::Span<const std::vector<std::string>> texts) -> absl::StatusOr<std::vector<PieceVectors>> {
    std::vector<PieceVectors> vectors;
    for (const std::vector<std::string>& pieces : texts) {
      std::string text;
      for (const std::string& piece : pieces) text += piece;
      vectors.push_back({*embed({&text, 1}), *embed(pieces)});
    }
    return vectors;
  };
  return embedder;
}

Document TextDocument(const std::string& path, const std::string& text, const std::string& source) {
  absl::StatusOr<Document> document = LoadDocument(DocumentFormat::kText, text, path);
  if (!document.ok()) abort();
  document->source = source;
  return *std::move(document);
}

CollectionOptions WriteOptions(int64_t dimension) {
  CollectionOptions options;
  options.mode = OpenMode::kWrite;
  options.create = true;
  options.embedder = SampleEmbedder(dimension);
  return options;
}

CollectionOptions ReadOptions(int64_t dimension) {
  CollectionOptions options;
  options.embedder = SampleEmbedder(dimension);
  return options;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "blazon-retrieval-XXXXXX").string();
  if (!mkdtemp(pattern.data())) abort();
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

void WriteFile(const std::filesystem::path& file, std::string_view content) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

std::string ReadFile(const std::filesystem::path& file) {
  std::ostringstream content;
  content << std::ifstream(file, std::ios::binary).rdbuf();
  return content.str();
}

}  // namespace blazon::retrieval
