// Safetensors: what the `safetensors` package wrote, what we write, and files that break the format.
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "service/checkpoint/safetensors.h"
#include "service/checkpoint/weights_digest.h"

namespace blazon::service {
namespace {

const std::string kGoldens = BLAZON_SOURCE_DIR "/tests/goldens/";
const char kRemedy[] = "; goldens are made by: python tests/reference/checkpoint_goldens.py";

std::string ReadBytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream bytes;
  bytes << stream.rdbuf();
  return bytes.str();
}

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = absl::StrCat(testing::TempDir(), "safetensors_test_", getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& bytes, const std::string& name = "file.safetensors") {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::remove(path);  // an earlier file may still be mapped
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static std::string File(const std::string& header, size_t data_bytes) {
    const uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(data_bytes, '\1');
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) names.push_back(entry.path().filename());
    return names;
  }

  std::filesystem::path folder_;
};

TEST_F(SafetensorsTest, WritesTheBytesOfThePackage) {
  std::map<std::string, std::string> metadata;
  const auto tensors = ReadSafetensors(kGoldens + "small_llama.safetensors", &metadata);
  ASSERT_TRUE(tensors.ok()) << tensors.status() << kRemedy;
  EXPECT_EQ(tensors->size(), 12u);
  EXPECT_EQ(metadata, (std::map<std::string, std::string>{{"source", "gguf"}}));
  const std::filesystem::path path = folder_ / "copy.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, *tensors, metadata).ok());
  EXPECT_TRUE(ReadBytes(path) == ReadBytes(kGoldens + "small_llama.safetensors"));
  EXPECT_EQ(Names(), std::vector<std::string>{"copy.safetensors"});  // nothing temporary is left
}

TEST_F(SafetensorsTest, EveryDtypeAndShapeComesBack) {
  TensorMap tensors;
  for (const at::ScalarType type :
       {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort, at::kChar, at::kByte}) {
    tensors.emplace(c10::toString(type), at::arange(15, at::TensorOptions().dtype(type)).reshape({3, 5}));
  }
  tensors.emplace("Bool", at::arange(6).remainder(2).to(at::kBool));
  tensors.emplace("scalar", at::arange(7, at::TensorOptions().dtype(at::kFloat))[3]);
  tensors.emplace("none", at::empty({4, 0, 2}));
  tensors.emplace("strided", at::arange(24, at::TensorOptions().dtype(at::kFloat)).reshape({4, 6}).t());
  tensors.emplace("name \"with\" \u03B4\n", at::zeros({1}));
  const std::map<std::string, std::string> metadata = {{"command", "blazon train \"x\""}, {"", ""}};
  const std::filesystem::path path = folder_ / "all.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, tensors, metadata).ok());
  ASSERT_TRUE(WriteSafetensors(path, tensors, metadata).ok());  // over itself
  std::map<std::string, std::string> read_metadata;
  const auto read = ReadSafetensors(path, &read_metadata);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read_metadata, metadata);
  ASSERT_EQ(read->size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor& back = read->at(name);
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(back.equal(tensor)) << name;
  }
}

TEST_F(SafetensorsTest, NamesWhatIsWrong) {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const auto tensor = [](const std::string& description) { return absl::StrCat("{\"a\":", description, "}"); };
  constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
  const struct {
    std::string bytes;
    absl::StatusCode code;
    const char* part;
  } cases[] = {
      {"1234", kDataLoss, "only 4 bytes"},
      {std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10), kDataLoss, "at most 100000000"},
      {std::string("\x01\xE1\xF5\x05\0\0\0\0{}", 10), kDataLoss, "at most 100000000"},
      {std::string("\x00\x01\0\0\0\0\0\0{}", 10), kDataLoss, "is it cut short"},
      {std::string("\0\0\0\0\0\0\0\0", 8), kDataLoss, "'{'"},
      {File(" {}", 0), kDataLoss, "'{'"},
      {File("{", 0), kDataLoss, "not a JSON object"},
      {File("{} x", 0), kDataLoss, "not a JSON object"},
      {File("{\"\xFF\":1}", 0), kDataLoss, "not a JSON object"},
      {File("{" + a + "," + a + "}", 8), kDataLoss, "the key \"a\" is there twice"},
      {File(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), kDataLoss,
       "\"dtype\" is there twice"},
      {File("{" + std::string(100000, '['), 0), kDataLoss, "not a JSON object"},
      {File("{\"a\":" + std::string(100000, '['), 0), kDataLoss, "nested too deeply"},
      {File("{" + a + "}", 7), kDataLoss, "is the file cut short"},
      {File("{" + a + "}", 9), kDataLoss, "1 bytes after the last tensor"},
      {File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12), kDataLoss, "after a hole"},
      {File("{" + a + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12), kDataLoss,
       "inside another one"},
      {File("{" + a + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8), kDataLoss, "inside another one"},
      {File(tensor(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), 8), kDataLoss, "ask for 12"},
      {File(tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), 8), kDataLoss, "lies at 8 to 0"},
      {File(tensor(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), 8), kDataLoss, "whole numbers"},
      {File(tensor(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), 8), kDataLoss, "whole numbers"},
      {File(tensor(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})"), 8), kDataLoss, "not an array"},
      {File(tensor(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]})"), 8), kDataLoss,
       "impossibly large"},
      {File(tensor(R"({"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]})"), 0), kDataLoss,
       "impossibly large"},
      {File(tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"), 8), kDataLoss, "two whole numbers"},
      {File(tensor(R"({"dtype":"F32","shape":[2]})"), 8), kDataLoss, "exactly dtype, shape and data_offsets"},
      {File(tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})"), 8), kDataLoss,
       "exactly dtype, shape and data_offsets"},
      {File(tensor("7"), 8), kDataLoss, "exactly dtype, shape and data_offsets"},
      {File(tensor(R"({"dtype":7,"shape":[2],"data_offsets":[0,8]})"), 8), kDataLoss, "not a string"},
      {File(tensor(R"({"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]})"), 8), absl::StatusCode::kUnimplemented,
       "\"a\" is of dtype \"F8_E4M3\""},
      {File(R"({"__metadata__":{"a":1}})", 0), kDataLoss, "not a string"},
      {File(R"({"__metadata__":[]})", 0), kDataLoss, "not an object"},
  };
  for (const auto& test : cases) {
    const auto read = ReadSafetensors(Write(test.bytes));
    EXPECT_EQ(read.status().code(), test.code) << test.part << ": " << read.status();
    EXPECT_NE(read.status().ToString().find(test.part), std::string::npos) << test.part << ": " << read.status();
  }
  const auto boolean =
      ReadSafetensors(Write(File(R"({"a":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", 0) + "\x02"));
  EXPECT_NE(boolean.status().ToString().find("something else than 0 and 1"), std::string::npos) << boolean.status();
  EXPECT_TRUE(ReadSafetensors(Write(File("{}", 0))).ok());
  EXPECT_EQ(ReadSafetensors(folder_ / "missing").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SafetensorsTest, UnalignedDataIsCopied) {
  const auto read = ReadSafetensors(Write(File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]} })", 8)));
  const auto shifted = ReadSafetensors(Write(File(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8)));
  ASSERT_TRUE(read.ok() && shifted.ok()) << read.status() << shifted.status();
  EXPECT_TRUE(read->at("a").equal(shifted->at("a")));
}

// How many pages of this part of the process's memory are resident (proc(5), pagemap).
int64_t ResidentPages(const void* data, size_t size) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const int map = open("/proc/self/pagemap", O_RDONLY);
  int64_t resident = 0;
  for (uintptr_t at = reinterpret_cast<uintptr_t>(data); at < reinterpret_cast<uintptr_t>(data) + size; at += page) {
    uint64_t entry = 0;
    EXPECT_EQ(pread(map, &entry, sizeof(entry), static_cast<off_t>(at / page * sizeof(entry))), 8);
    resident += static_cast<int64_t>(entry >> 63);
  }
  close(map);
  return resident;
}

TEST_F(SafetensorsTest, TheEndOfATensorTakesItsPagesOutOfMemory) {
  const std::filesystem::path path = folder_ / "pages.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, {{"a", at::arange(1 << 18)}, {"b", at::arange(1 << 18)}}).ok());
  auto read = ReadSafetensors(path);
  ASSERT_TRUE(read.ok()) << read.status();
  const at::Tensor a = read->at("a");
  const void* const b = read->at("b").const_data_ptr();
  const int64_t sum = (a.sum() + read->at("b").sum()).item<int64_t>();
  const int64_t before_a = ResidentPages(a.const_data_ptr(), a.nbytes()), before_b = ResidentPages(b, a.nbytes());
  EXPECT_GE(before_b, 512);
  read->erase("b");
  EXPECT_LE(ResidentPages(b, a.nbytes()), 2);  // but for the pages that it shares with its neighbours
  EXPECT_EQ(ResidentPages(a.const_data_ptr(), a.nbytes()), before_a);
  EXPECT_EQ(2 * a.sum().item<int64_t>(), sum);
}

TEST_F(SafetensorsTest, DigestsAreThoseOfTheFiles) {
  const std::string a = Write("abc", "a.safetensors"), b = Write(std::string(1'000'000, 'a'), "b.safetensors");
  const char of_a[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";  // FIPS 180-4's examples
  const char of_b[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
  EXPECT_EQ(*FileSha256(a), of_a);
  EXPECT_EQ(*FileSha256(b), of_b);
  EXPECT_EQ(*WeightsDigest({std::filesystem::path(a)}).Get(), absl::StrCat("sha256:", of_a));
  const std::string lines = Write(absl::StrCat("a.safetensors ", of_a, "\nb.safetensors ", of_b, "\n"), "lines");
  const WeightsDigest both(std::vector<std::filesystem::path>{a, b});
  const WeightsDigest copy = both;
  EXPECT_EQ(*both.Get(), absl::StrCat("sha256:", *FileSha256(lines)));
  EXPECT_EQ(*copy.Get(), *both.Get());
  const auto missing = WeightsDigest({folder_ / "none"}).Get();
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(missing.status().ToString().find("none"), std::string::npos) << missing.status();
  EXPECT_EQ(WeightsDigest().Get().status().code(), absl::StatusCode::kFailedPrecondition);
  const std::atomic<bool> stop = true;
  EXPECT_EQ(FileSha256(b, &stop).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(SafetensorsTest, PicklesAreRefusedWithARemedy) {
  for (const std::string& path : {Write(std::string("PK\x03\x04") + std::string(100, '\0'), "model.safetensors"),
                                  Write(std::string("\x80\x02\x8A\x0Al\xFC\x9C"
                                                    "F\xF9 j\xA8P",
                                                    14),
                                        "old"),
                                  Write("anything", "pytorch_model.bin"), Write("anything", "model.pth")}) {
    const auto read = ReadSafetensors(path);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << path;
    EXPECT_NE(read.status().ToString().find(absl::StrCat("make convert IN=", path)), std::string::npos)
        << read.status();
  }
  // A header of 640 bytes begins with a pickle's first two bytes, and is none.
  std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  header.resize(640, ' ');
  EXPECT_TRUE(ReadSafetensors(Write(File(header, 8))).ok());
}

TEST_F(SafetensorsTest, BrokenFilesNeverCrash) {
  TensorMap tensors = {{"a", at::arange(24).reshape({2, 12})}, {"b", at::zeros({3, 5})}};
  const std::filesystem::path path = folder_ / "whole.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, tensors, {{"k", "v"}}).ok());
  const std::string whole = ReadBytes(path);
  for (size_t size = 1; size < whole.size(); ++size)
    EXPECT_FALSE(ReadSafetensors(Write(whole.substr(0, size))).ok()) << size;
  std::mt19937_64 random(7);
  int opened = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = whole;
    for (uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
      const char digits[] = "0123456789[]{},:\"";
      bytes[random() % (whole.size() - 252)] =
          random() % 2 == 0 ? static_cast<char>(random()) : digits[random() % (sizeof(digits) - 1)];
    }
    const auto read = ReadSafetensors(Write(bytes));
    if (!read.ok()) continue;
    ++opened;
    for (const auto& [name, tensor] : *read) (void)tensor.to(at::kDouble).sum().item<double>();
  }
  std::printf("2000 mutated files: %d opened, %d refused\n", opened, 2000 - opened);
}

TEST_F(SafetensorsTest, AFailedWriteLeavesTheFormerFile) {
  const std::filesystem::path path = folder_ / "state.safetensors";
  ASSERT_TRUE(WriteSafetensors(path, {{"a", at::zeros({4})}}).ok());
  const std::string before = ReadBytes(path);

  // The limit then shows as a failed write, like a full disk.
  const auto previous_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  rlimit small = limit;
  small.rlim_cur = 1 << 16;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteSafetensors(path, {{"a", at::zeros({1 << 20})}});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, previous_handler);

  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(ReadBytes(path) == before);
  EXPECT_EQ(Names(), std::vector<std::string>{"state.safetensors"});
  EXPECT_FALSE(WriteSafetensors(folder_ / "no" / "such.safetensors", {{"a", at::zeros({4})}}).ok());
}

TEST_F(SafetensorsTest, WhatCannotBeWrittenIsRefused) {
  const std::filesystem::path path = folder_ / "x.safetensors";
  EXPECT_EQ(WriteSafetensors(path, {{"__metadata__", at::zeros({1})}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(path, {{"a", at::Tensor()}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(path, {{"\xFF", at::zeros({1})}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(path, {{"a", at::zeros({1}).to(at::kComplexFloat)}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Names().empty());
}

}  // namespace
}  // namespace blazon::service
