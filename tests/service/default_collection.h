// The default models, and a collection made with their embedder.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "retrieval/collection.h"
#include "retrieval/embedder.h"
#include "retrieval/indexer.h"
#include "service/model_store.h"
#include "tests/service/default_models.h"

namespace blazon::service {

// In a folder of its own, which goes with it. Neither copied nor moved. Tests call Open first.
class DefaultCollection {
 public:
  DefaultCollection() = default;
  DefaultCollection(const DefaultCollection&) = delete;
  DefaultCollection& operator=(const DefaultCollection&) = delete;
  ~DefaultCollection() { Close(); }

  // Loads the models, the first time, and makes an empty collection, in the place of the last one. name: the folder's,
  // which no other test has.
  void Open(const std::string& name) {
    Close();
    if (models_ == nullptr) {
      auto models = ModelStore::Open(DefaultModelOptions());
      ASSERT_TRUE(models.ok()) << models.status();
      models_ = *std::move(models);
    }
    auto embedder = models_->CollectionEmbedder();
    ASSERT_TRUE(embedder.ok()) << embedder.status();
    folder_ = std::filesystem::path(testing::TempDir()) / absl::StrCat(name, ".", getpid());
    retrieval::CollectionOptions options;
    options.mode = retrieval::OpenMode::kWrite;
    options.create = true;
    options.embedder = embedder_ = *std::move(embedder);
    auto collection = retrieval::Collection::Open(folder_, options);
    ASSERT_TRUE(collection.ok()) << collection.status();
    collection_ = *std::move(collection);
  }

  // Indexes a folder of the repository, every file of it.
  void Index(const std::string& documents) {
    const std::filesystem::path folder = std::filesystem::path(BLAZON_SOURCE_DIR) / documents;
    auto report = retrieval::Indexer(*collection_, {}).Add({&folder, 1});
    ASSERT_TRUE(report.ok()) << report.status();
    ASSERT_TRUE(report->skipped.empty()) << report->skipped.front().path << ": " << report->skipped.front().reason;
  }

  ModelStore& models() const { return *models_; }
  const retrieval::Embedder& embedder() const { return embedder_; }
  retrieval::Collection& operator*() const { return *collection_; }
  retrieval::Collection* operator->() const { return collection_.get(); }

 private:
  void Close() {
    collection_.reset();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  std::filesystem::path folder_;
  std::unique_ptr<ModelStore> models_;
  retrieval::Embedder embedder_;
  std::unique_ptr<retrieval::Collection> collection_;
};

}  // namespace blazon::service
