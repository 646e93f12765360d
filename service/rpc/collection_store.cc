#include "service/rpc/collection_store.h"

#include <algorithm>
#include <cctype>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "service/rpc/status.h"

namespace blazon::service::rpc {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr char kDeleted[] = ".deleted-";  // no collection's name begins so

absl::Status NotFound(const std::string& name) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no collection \"", name,
                                                     "\" on this server; CreateCollection makes one")),
                    "COLLECTION_NOT_FOUND");
}

}  // namespace

absl::StatusOr<std::unique_ptr<CollectionStore>> CollectionStore::Open(const fs::path& data_folder, std::string holder,
                                                                       ModelStore& models) {
  const fs::path folder = data_folder / "collections";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return absl::PermissionDeniedError(absl::StrCat(
        "the data folder ", folder.string(), " cannot be made: ", error.message(), ". Give another with --data."));
  }
  for (const fs::directory_entry& left : fs::directory_iterator(folder, error)) {
    if (left.path().filename().string().starts_with(kDeleted)) fs::remove_all(left.path(), error);
  }
  return std::unique_ptr<CollectionStore>(new CollectionStore(folder, std::move(holder), models));
}

absl::Status CollectionStore::CheckName(std::string_view name) {
  const auto allowed = [](unsigned char c) { return c < 128 && (std::isalnum(c) || c == '-' || c == '_' || c == '.'); };
  if (name.empty()) return FieldError("collection", "is empty; name one");
  if (name.size() > kMaxNameBytes || !std::all_of(name.begin(), name.end(), allowed) ||
      !std::isalnum(static_cast<unsigned char>(name.front()))) {
    return FieldError("collection",
                      "is not a name: 1 to 64 letters, digits, '-', '_' and '.', the first a letter or a digit");
  }
  return absl::OkStatus();
}

std::shared_ptr<CollectionStore::Entry> CollectionStore::FindEntry(const std::string& name) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Entry>& entry = entries_[name];
  if (entry == nullptr) entry = std::make_shared<Entry>();
  return entry;
}

bool CollectionStore::Exists(const std::string& name) const {
  std::error_code error;
  return fs::is_directory(folder_ / name, error);
}

absl::StatusOr<std::unique_ptr<retrieval::Collection>> CollectionStore::OpenCollection(const std::string& name,
                                                                                       bool create,
                                                                                       retrieval::IndexKind index) {
  absl::StatusOr<retrieval::Embedder> embedder = models_.CollectionEmbedder();
  if (!embedder.ok()) return embedder.status();
  retrieval::CollectionOptions options;
  options.mode = retrieval::OpenMode::kWrite;
  options.create = create;
  options.index = index;
  options.embedder = *std::move(embedder);
  options.holder = holder_;
  return retrieval::Collection::Open(folder_ / name, std::move(options));
}

absl::StatusOr<CollectionStore::Handle> CollectionStore::Use(const std::string& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  if (!Exists(name)) return NotFound(name);
  const std::shared_ptr<Entry> entry = FindEntry(name);
  while (true) {
    std::shared_lock shared(entry->mutex);
    if (entry->collection != nullptr) return Handle(entry, std::move(shared));
    shared.unlock();
    std::unique_lock exclusive(entry->mutex);
    if (entry->collection != nullptr) continue;
    if (!Exists(name)) return NotFound(name);
    auto collection = OpenCollection(name, /*create=*/false);
    if (!collection.ok()) return collection.status();
    entry->collection = *std::move(collection);
  }
}

absl::Status CollectionStore::Create(const std::string& name, retrieval::IndexKind index) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  const std::shared_ptr<Entry> entry = FindEntry(name);
  std::unique_lock exclusive(entry->mutex);
  if (Exists(name)) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat("there is a collection \"", name, "\" already")),
                      "COLLECTION_EXISTS");
  }
  auto collection = OpenCollection(name, /*create=*/true, index);
  if (!collection.ok()) return collection.status();
  entry->collection = *std::move(collection);
  return absl::OkStatus();
}

absl::Status CollectionStore::Delete(const std::string& name) {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  if (!Exists(name)) return NotFound(name);
  const std::shared_ptr<Entry> entry = FindEntry(name);
  ++entry->unwanted;
  std::unique_lock exclusive(entry->mutex);
  --entry->unwanted;
  if (!Exists(name)) return NotFound(name);
  if (entry->collection == nullptr) {
    if (const auto writer = retrieval::FindWriter(folder_ / name); writer.has_value()) {
      return absl::UnavailableError(
          absl::StrCat("collection \"", name, "\" is being written by process ", writer->pid, "; end that first"));
    }
  }
  entry->collection.reset();
  // Renamed first, so that a crash between leaves nothing half deleted under its name.
  const fs::path deleted = folder_ / absl::StrCat(kDeleted, name);
  std::error_code error;
  fs::remove_all(deleted, error);
  fs::rename(folder_ / name, deleted, error);
  if (error) return absl::InternalError(absl::StrCat("collection \"", name, "\" cannot be deleted: ", error.message()));
  fs::remove_all(deleted, error);
  return absl::OkStatus();
}

absl::StatusOr<fs::path> CollectionStore::Folder(const std::string& name) const {
  if (absl::Status status = CheckName(name); !status.ok()) return status;
  if (!Exists(name)) return NotFound(name);
  return folder_ / name;
}

CollectionStore::~CollectionStore() {
  {
    std::lock_guard lock(build_mutex_);
    stopping_ = true;
  }
  build_wake_.notify_all();
  if (builder_.joinable()) builder_.join();
}

void CollectionStore::BuildIndexesLater(const std::string& name) {
  {
    std::lock_guard lock(build_mutex_);
    to_build_.insert(name);
    if (!builder_.joinable()) builder_ = std::thread([this] { BuildIndexes(); });
  }
  build_wake_.notify_all();
}

void CollectionStore::BuildIndexes() {
  std::unique_lock lock(build_mutex_);
  while (true) {
    build_wake_.wait(lock, [this] { return stopping_ || !to_build_.empty(); });
    if (stopping_) return;
    const std::string name = *to_build_.begin();
    to_build_.erase(to_build_.begin());
    lock.unlock();
    if (absl::StatusOr<Handle> collection = Use(name); collection.ok()) {
      const std::shared_ptr<Entry> entry = FindEntry(name);
      (*collection)->BuildIndexes([this, &entry] { return stopping_ || entry->unwanted > 0; }).IgnoreError();
    }
    lock.lock();
  }
}

absl::StatusOr<std::vector<std::string>> CollectionStore::List() const {
  std::error_code error;
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, error)) {
    std::string name = entry.path().filename().string();
    if (entry.is_directory(error) && CheckName(name).ok()) names.push_back(std::move(name));
  }
  if (error) return absl::InternalError(absl::StrCat("the data folder cannot be read: ", error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace blazon::service::rpc
