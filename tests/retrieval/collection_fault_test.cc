// What a collection does when the disk fails it: each write, flush and rename in turn; a disk that is really full; bits
// that flip.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <random>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "sample_embedder.h"

namespace blazon::retrieval {
namespace {

using ::testing::HasSubstr;

std::vector<Document> Generation(int number) {
  std::vector<Document> documents;
  for (int i = 0; i < 6; ++i)
    documents.push_back(
        TextDocument(absl::StrCat(i, ".txt"), absl::StrCat("common text, document ", i, " of generation", number)));
  return documents;
}

// The generation that all documents are of; -1 when they are not of one.
int GenerationIn(const Collection& collection, int64_t dimension = 32) {
  Query query;
  query.text = "common";
  query.count = 100;
  query.mode = SearchMode::kWords;
  query.vector = (*SampleEmbedder(dimension).embed({query.text}));  // so that the vectors are read too
  const auto found = collection.Search(query);
  EXPECT_TRUE(found.ok()) << found.status();
  if (!found.ok() || found->size() != 6) return -1;
  int generation = -2;
  for (const ScoredChunk& chunk : *found) {
    const int its = std::atoi(chunk.text.c_str() + chunk.text.find("generation") + 10);
    if (generation == -2) generation = its;
    if (its != generation) return -1;
  }
  return generation;
}

// Fails operation number `fail_at` (from 0) as a full disk does, writing half of a file first.
class FaultyFiles : public Files {
 public:
  int fail_at = -1;
  int operations = 0;
  absl::Status WriteAndSync(const std::filesystem::path& file, absl::Span<const std::string_view> parts) override {
    if (operations++ != fail_at) return Files::WriteAndSync(file, parts);
    EXPECT_TRUE(Files::WriteAndSync(file, parts.subspan(0, parts.size() / 2)).ok());
    return FileError("write", file, ENOSPC);
  }
  absl::Status OverwriteAndSync(const std::filesystem::path& file, int64_t at, std::string_view bytes) override {
    return operations++ == fail_at ? FileError("write", file, EIO) : Files::OverwriteAndSync(file, at, bytes);
  }
  absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return operations++ == fail_at ? FileError("rename", from, ENOSPC) : Files::Rename(from, to);
  }
  absl::Status SyncFolder(const std::filesystem::path& folder) override {
    return operations++ == fail_at ? FileError("flush", folder, ENOSPC) : Files::SyncFolder(folder);
  }
  absl::Status Remove(const std::filesystem::path& file) override {
    return operations++ == fail_at ? FileError("remove", file, EIO) : Files::Remove(file);
  }
};

TEST(CollectionFaultTest, EachFileOperationMayFail) {
  for (int fault = 0;; ++fault) {
    TemporaryFolder folder;
    FaultyFiles files;
    CollectionOptions options = WriteOptions();
    options.files = &files;
    auto collection = *Collection::Open(folder, options);
    ASSERT_TRUE(collection->Put(Generation(1)).ok());
    files.operations = 0;
    files.fail_at = fault;
    const auto put = collection->Put(Generation(2));
    const bool all_done = files.operations <= fault;
    if (put.ok()) {  // the record and the removal of merged segments come after the commit, and are made up for
      EXPECT_EQ(GenerationIn(*collection), 2);
    } else {
      EXPECT_EQ(put.status().code(), absl::StatusCode::kResourceExhausted);
      EXPECT_THAT(std::string(put.status().message()), HasSubstr(folder.path().string()));
      EXPECT_EQ(GenerationIn(*collection), 1);
      EXPECT_EQ(GenerationIn(**Collection::Open(folder, ReadOptions())), 1);
    }
    files.fail_at = -1;
    EXPECT_TRUE(collection->Put(Generation(3)).ok());
    EXPECT_EQ(GenerationIn(*collection), 3);
    collection.reset();
    collection = *Collection::Open(folder, options);
    EXPECT_EQ(GenerationIn(*collection), 3);
    EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
    if (all_done) {
      EXPECT_GE(fault, 3);
      break;
    }
  }
}

// A VFS on top of the default one whose write number `fail_at` (writes, flushes, truncations, from 0) and all later
// ones fail until it is healed, as a disk that fills up.
struct FaultyVfs {
  struct File {
    sqlite3_file base;
    sqlite3_file* real;
  };
  static inline int fail_at = -1;
  static inline int operations = 0;
  static bool Fails() { return fail_at >= 0 && operations++ >= fail_at; }
  static sqlite3_file* Real(sqlite3_file* file) { return reinterpret_cast<File*>(file)->real; }
  static sqlite3_vfs* Default() { return sqlite3_vfs_find(nullptr); }

  static int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    auto* mine = reinterpret_cast<File*>(file);
    mine->real = reinterpret_cast<sqlite3_file*>(mine + 1);
    static const sqlite3_io_methods methods = {
        3,
        [](sqlite3_file* f) { return Real(f)->pMethods->xClose(Real(f)); },
        [](sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
          return Real(f)->pMethods->xRead(Real(f), to, size, at);
        },
        [](sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
          if (!Fails()) return Real(f)->pMethods->xWrite(Real(f), from, size, at);
          Real(f)->pMethods->xWrite(Real(f), from, size / 2, at);  // torn
          return SQLITE_FULL;
        },
        [](sqlite3_file* f, sqlite3_int64 size) {
          return Fails() ? SQLITE_IOERR_TRUNCATE : Real(f)->pMethods->xTruncate(Real(f), size);
        },
        [](sqlite3_file* f, int how) { return Fails() ? SQLITE_IOERR_FSYNC : Real(f)->pMethods->xSync(Real(f), how); },
        [](sqlite3_file* f, sqlite3_int64* size) { return Real(f)->pMethods->xFileSize(Real(f), size); },
        [](sqlite3_file* f, int lock) { return Real(f)->pMethods->xLock(Real(f), lock); },
        [](sqlite3_file* f, int lock) { return Real(f)->pMethods->xUnlock(Real(f), lock); },
        [](sqlite3_file* f, int* reserved) { return Real(f)->pMethods->xCheckReservedLock(Real(f), reserved); },
        [](sqlite3_file* f, int op, void* argument) { return Real(f)->pMethods->xFileControl(Real(f), op, argument); },
        [](sqlite3_file* f) { return Real(f)->pMethods->xSectorSize(Real(f)); },
        [](sqlite3_file* f) { return Real(f)->pMethods->xDeviceCharacteristics(Real(f)); },
        [](sqlite3_file* f, int region, int size, int extend, void volatile** place) {
          return Real(f)->pMethods->xShmMap(Real(f), region, size, extend, place);
        },
        [](sqlite3_file* f, int offset, int n, int flags) {
          return Real(f)->pMethods->xShmLock(Real(f), offset, n, flags);
        },
        [](sqlite3_file* f) { Real(f)->pMethods->xShmBarrier(Real(f)); },
        [](sqlite3_file* f, int remove) { return Real(f)->pMethods->xShmUnmap(Real(f), remove); },
        [](sqlite3_file* f, sqlite3_int64 at, int size, void** place) {
          return Real(f)->pMethods->xFetch(Real(f), at, size, place);
        },
        [](sqlite3_file* f, sqlite3_int64 at, void* place) { return Real(f)->pMethods->xUnfetch(Real(f), at, place); },
    };
    const int code = Default()->xOpen(Default(), name, mine->real, flags, out_flags);
    mine->base.pMethods = mine->real->pMethods ? &methods : nullptr;
    return code;
  }
  static void Register() {
    static sqlite3_vfs vfs;
    if (vfs.zName) return;
    vfs = *Default();
    vfs.szOsFile += static_cast<int>(sizeof(File));
    vfs.zName = "faulty";
    vfs.pNext = nullptr;
    vfs.xOpen = Open;
    sqlite3_vfs_register(&vfs, 0);
  }
};

TEST(CollectionFaultTest, EachWriteOfTheDatabaseMayFail) {
  FaultyVfs::Register();
  int faults = 0, came_through = 0;
  for (int fault = 0;; ++fault) {
    TemporaryFolder folder;
    CollectionOptions options = WriteOptions();
    options.sqlite_vfs = "faulty";
    FaultyVfs::fail_at = -1;
    auto collection = *Collection::Open(folder, options);
    ASSERT_TRUE(collection->Put(Generation(1)).ok());
    FaultyVfs::operations = 0;
    FaultyVfs::fail_at = fault;
    const auto put = collection->Put(Generation(2));
    const bool all_done = FaultyVfs::operations <= fault;
    FaultyVfs::fail_at = -1;
    if (!put.ok()) {
      ++faults;
      EXPECT_THAT(std::string(put.status().message()), HasSubstr("collection.db")) << put.status();
      EXPECT_EQ(GenerationIn(*collection), 1);  // the running process goes on with the old state
    }
    // Another process that opens a copy of what is on the disk now, as after a crash, sees one state, whole.
    TemporaryFolder copy;
    std::filesystem::copy(folder.path(), copy.path(),
                          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(copy.path() / "collection.db-shm");
    auto crashed = Collection::Open(copy, WriteOptions());
    ASSERT_TRUE(crashed.ok()) << crashed.status();
    const int generation = GenerationIn(**crashed);
    EXPECT_TRUE(generation == 1 || generation == 2) << generation;
    came_through += !put.ok() && generation == 2;
    EXPECT_TRUE((*crashed)->Verify().ok()) << (*crashed)->Verify();

    EXPECT_TRUE(collection->Put(Generation(3)).ok());
    EXPECT_EQ(GenerationIn(*collection), 3);
    EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
    collection.reset();
    collection = *Collection::Open(folder, options);
    EXPECT_EQ(GenerationIn(*collection), 3);
    if (all_done) break;
  }
  std::printf("%d faults of the database; %d changes whose commit failed were there after a crash, whole\n", faults,
              came_through);
  EXPECT_GT(faults, 3);
}

TEST(CollectionFaultTest, AFullDiskLeavesTheOldStateServed) {
  TemporaryFolder folder;
  if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=3m") != 0)
    GTEST_SKIP() << "no right to mount a small disk; the faults above stand for it";
  const absl::Cleanup unmount = [&folder] { umount2(folder.path().c_str(), MNT_DETACH); };
  const std::filesystem::path place = folder.path() / "collection";
  auto collection = *Collection::Open(place, WriteOptions());
  ASSERT_TRUE(collection->Put(Generation(1)).ok());
  WriteFile(folder.path() / "filler", std::string(1 << 20, 'x'));
  absl::Status status;
  int added = 0;
  for (; status.ok() && added < 10000; ++added) {
    status =
        collection
            ->Put({TextDocument(absl::StrCat("more", added), absl::StrCat("another ", added, std::string(20000, '.')))})
            .status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(place.string()));
  EXPECT_EQ(GenerationIn(*collection), 1);
  EXPECT_EQ(GenerationIn(**Collection::Open(place, ReadOptions())), 1);
  EXPECT_EQ(collection->Stats()->documents, 6 + added - 1);
  std::filesystem::remove(folder.path() / "filler");
  EXPECT_TRUE(collection->Put({TextDocument("last", "there is room again")}).ok());
  EXPECT_TRUE(collection->Verify().ok()) << collection->Verify();
  collection.reset();
  collection = *Collection::Open(place, WriteOptions());
  EXPECT_EQ(collection->Stats()->documents, 6 + added);
  EXPECT_EQ(GenerationIn(*collection), 1);
}

TEST(CollectionFaultTest, DamagedSegmentsAreNamedAndNeverUsed) {
  TemporaryFolder folder;
  ASSERT_TRUE((*Collection::Open(folder, WriteOptions(8)))->Put(Generation(1)).ok());
  const std::filesystem::path file = folder.path() / "segment-1.vec";
  const std::string whole = ReadFile(file);
  ASSERT_EQ(whole.size(), 64 + 6 * (8 + 4 * 8));
  // Six documents more: their change takes the segment in.
  const auto add_as_many = [&](Collection& collection) {
    std::vector<Document> more;
    for (int i = 0; i < 6; ++i) more.push_back(TextDocument(absl::StrCat("more", i, ".txt"), "another common text"));
    return collection.Put(more).status();
  };
  const auto expect_data_loss = [&](const std::string& what) {
    const auto writer = Collection::Open(folder, WriteOptions(8));
    EXPECT_EQ(writer.status().code(), absl::StatusCode::kDataLoss) << what;
    const auto reader = Collection::Open(folder, ReadOptions(8));
    ASSERT_TRUE(reader.ok()) << reader.status();  // lists and words still serve
    EXPECT_EQ((*reader)->List()->documents.size(), 6u);
    Query query;
    query.text = "common";
    const auto found = (*reader)->Search(query);
    EXPECT_EQ(found.status().code(), absl::StatusCode::kDataLoss) << what;
    EXPECT_THAT(std::string(found.status().message()), HasSubstr("segment-1.vec"));
    const absl::Status verified = (*reader)->Verify();
    EXPECT_EQ(verified.code(), absl::StatusCode::kDataLoss) << what;
    EXPECT_THAT(std::string(verified.message()), HasSubstr("segment-1.vec"));
  };
  std::mt19937 random(3);
  for (size_t byte = 0; byte < whole.size(); byte += byte < 64 ? 1 : 7) {
    std::string damaged = whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << (random() % 8)));
    WriteFile(file, damaged);
    // A writer sees damage when it moves the vectors, a reader when it searches them.
    const auto writer = Collection::Open(folder, WriteOptions(8));
    ASSERT_TRUE(writer.ok()) << writer.status();
    Query query;
    query.text = "common";
    for (const absl::Status& status : {add_as_many(**writer), (*writer)->Search(query).status()}) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("segment-1.vec"));
      if (byte >= 8 && byte < 12) {  // the format version: it may be a newer program's file
        EXPECT_FALSE(status.ok());
      } else {
        EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << "byte " << byte;
      }
    }
    EXPECT_EQ((*writer)->List()->documents.size(), 6u);
  }
  WriteFile(file, whole.substr(0, whole.size() - 1));
  expect_data_loss("one byte short");
  WriteFile(file, whole + "x");
  expect_data_loss("one byte long");
  WriteFile(file, "");
  expect_data_loss("empty");
  std::filesystem::remove(file);
  expect_data_loss("missing");
  WriteFile(file, whole);
  const auto writer = Collection::Open(folder, WriteOptions(8));
  EXPECT_TRUE((*writer)->Verify().ok());
  EXPECT_TRUE(add_as_many(**writer).ok());
  EXPECT_TRUE((*writer)->Verify().ok());
}

}  // namespace
}  // namespace blazon::retrieval
