// The collections of one server: folders under data_folder/collections, opened when first used, kept open.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retrieval/collection.h"
#include "service/model_store.h"

namespace blazon::service::rpc {

// Thread safety: every method may be called from any thread; all may wait for disk, none for a client.
class CollectionStore {
 public:
  // Makes data_folder/collections when it is missing. `holder` is written into the lock files. `models` must outlive
  // the store.
  static absl::StatusOr<std::unique_ptr<CollectionStore>> Open(const std::filesystem::path& data_folder,
                                                               std::string holder, ModelStore& models);

  ~CollectionStore();  // stops what is being built

  // 1 to 64 letters, digits, '-', '_', '.', the first a letter or a digit: never a path.
  static absl::Status CheckName(std::string_view name);

 private:
  struct Entry {
    std::shared_mutex mutex;  // shared: the collection is in use; exclusive: it is being opened, made or deleted
    std::unique_ptr<retrieval::Collection> collection;
    std::atomic<int> unwanted{0};  // so many wait to delete it
  };

 public:
  // Keeps a collection from being deleted while it is used. Keep it for one operation, not for the length of a stream.
  class Handle {
   public:
    retrieval::Collection& operator*() const { return *entry_->collection; }
    retrieval::Collection* operator->() const { return entry_->collection.get(); }

   private:
    friend class CollectionStore;
    Handle(std::shared_ptr<Entry> entry, std::shared_lock<std::shared_mutex> lock)
        : entry_(std::move(entry)), lock_(std::move(lock)) {}
    std::shared_ptr<Entry> entry_;
    std::shared_lock<std::shared_mutex> lock_;  // released before entry_
  };

  // kNotFound; or what Collection::Open says.
  absl::StatusOr<Handle> Use(const std::string& name);
  // kAlreadyExists.
  absl::Status Create(const std::string& name, retrieval::IndexKind index);
  // Waits for those who use it. kNotFound; kUnavailable: another process writes to it.
  absl::Status Delete(const std::string& name);
  // Where it lies; it need not open. kNotFound.
  absl::StatusOr<std::filesystem::path> Folder(const std::string& name) const;
  std::filesystem::path snapshots_folder() const { return folder_.parent_path() / "snapshots"; }
  // Builds the approximate indexes that the collection lacks, on a thread of the store's own, one collection at a time.
  // What fails is tried again after the next call.
  void BuildIndexesLater(const std::string& name);
  // Names, in order.
  absl::StatusOr<std::vector<std::string>> List() const;

 private:
  CollectionStore(std::filesystem::path folder, std::string holder, ModelStore& models)
      : folder_(std::move(folder)), holder_(std::move(holder)), models_(models) {}
  void BuildIndexes();
  std::shared_ptr<Entry> FindEntry(const std::string& name);
  bool Exists(const std::string& name) const;
  absl::StatusOr<std::unique_ptr<retrieval::Collection>> OpenCollection(
      const std::string& name, bool create, retrieval::IndexKind index = retrieval::IndexKind::kAuto);

  const std::filesystem::path folder_;
  const std::string holder_;
  ModelStore& models_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;  // grows only: an entry may be waited for

  std::mutex build_mutex_;
  std::condition_variable build_wake_;
  std::set<std::string> to_build_;
  std::atomic<bool> stopping_{false};
  std::thread builder_;  // started by the first BuildIndexesLater
};

}  // namespace blazon::service::rpc
