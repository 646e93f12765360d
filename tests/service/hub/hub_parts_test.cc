// The parts of pulling that need no server: names, addresses, where the cache is, who gets the token.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "absl/strings/str_cat.h"
#include "service/hub/blob_file.h"
#include "service/hub/cache.h"
#include "service/hub/hub_client.h"
#include "service/hub/repository.h"
#include "service/hub/token.h"
#include "service/hub/url.h"

namespace blazon::service::hub {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(ModelReferenceTest, Forms) {
  const auto expect = [](const char* text, const char* repository, const char* revision, const char* file) {
    const auto reference = ParseModelReference(text);
    ASSERT_TRUE(reference.ok()) << text << ": " << reference.status();
    EXPECT_EQ(reference->repository, repository);
    EXPECT_EQ(reference->revision, revision);
    EXPECT_EQ(reference->file, file);
  };
  expect("gpt2", "gpt2", "main", "");
  expect("org/na.me_2-B", "org/na.me_2-B", "main", "");
  expect("org/name@v1.0", "org/name", "v1.0", "");
  expect("org/name@refs/pr/3:sub/a.gguf", "org/name", "refs/pr/3", "sub/a.gguf");
  expect("org/name:a@b.gguf", "org/name", "main", "a@b.gguf");
  for (const char* text : {"",
                           "/",
                           "a/b/c",
                           "../x",
                           "org/..",
                           "/abs/path",
                           "org/",
                           "/name",
                           "-a/b",
                           "a/b-",
                           ".a",
                           "a--b/c",
                           "a b",
                           "org/name@",
                           "org/name@../x",
                           "org/name:",
                           "org/name:/etc/x",
                           "org/name:../x",
                           "na\nme",
                           "https://host/org/name"}) {
    EXPECT_EQ(ParseModelReference(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(UrlTest, PartsAndEncoding) {
  const auto url = ParseUrl("HTTPS://Hub.Example/base/");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->Origin(), "https://hub.example:443");
  EXPECT_FALSE(url->IsLoopback());
  EXPECT_TRUE(ParseUrl("http://[::1]:80/")->IsLoopback());
  EXPECT_TRUE(ParseUrl("http://127.0.0.1:8080")->IsLoopback());
  EXPECT_FALSE(ParseUrl("http://127.0.0.1.example.com")->IsLoopback()) << "a name that begins like an address";
  EXPECT_EQ(ResolveUrl(*url, "/a?b=c")->text, "https://Hub.Example/a?b=c");
  EXPECT_EQ(ResolveUrl(*url, "http://other:81/x")->Origin(), "http://other:81");
  for (const char* text :
       {"", "hub.example", "ftp://hub.example", "file:///etc/passwd", "http://", "https://user@host/"}) {
    EXPECT_FALSE(ParseUrl(text).ok()) << text;
  }
  EXPECT_FALSE(ResolveUrl(*url, "file:///etc/passwd").ok());
  EXPECT_EQ(PercentEncode("a b/ü#?%", true), "a%20b/%C3%BC%23%3F%25");
  EXPECT_EQ(PercentEncode("refs/pr/1", false), "refs%2Fpr%2F1");
}

// Answers from a table, and keeps what was asked.
class ScriptedHttp : public HttpClient {
 public:
  absl::StatusOr<HttpResponse> Get(const HttpRequest& request, const BodySink& sink) override {
    asked.push_back(request);
    const auto answer = answers.find(request.url);
    if (answer == answers.end()) return HttpResponse{404, {}};
    return answer->second;
  }
  bool SentToken(size_t i) const {
    for (const auto& [name, value] : asked.at(i).headers) {
      if (name == "Authorization") return true;
    }
    return false;
  }
  std::map<std::string, HttpResponse> answers;
  std::vector<HttpRequest> asked;
};

TEST(TokenTest, GoesToTheHubsOwnOriginAlone) {
  const std::string list = "https://hub.example/api/models/o/n/revision/main?blobs=true";
  struct Case {
    const char* location;
    bool token, refused;
  };
  for (const Case& c :
       {Case{"https://hub.example/api/models/new/n", true, false}, Case{"/api/models/new/n", true, false},
        Case{"https://cdn.example/x", false, false}, Case{"https://hub.example:8443/x", false, false},
        Case{"https://hub.example.evil.com/x", false, false}, Case{"http://hub.example/x", false, true},
        Case{"file:///etc/passwd", false, true}}) {
    ScriptedHttp http;
    http.answers[list] = {307, {{"location", c.location}}};
    auto client = HubClient::Create("https://hub.example", {"hf_secret\n"}, &http);
    ASSERT_TRUE(client.ok()) << client.status();
    EXPECT_FALSE(client->GetModel({"o/n", "main", ""}).ok());
    EXPECT_TRUE(http.SentToken(0));
    ASSERT_EQ(http.asked.size(), c.refused ? 1u : 2u) << c.location;
    if (!c.refused) {
      EXPECT_EQ(http.SentToken(1), c.token) << c.location;
    }
  }
  // A redirect in a circle ends.
  ScriptedHttp http;
  http.answers[list] = {302, {{"location", list}}};
  auto client = HubClient::Create("https://hub.example", {""}, &http);
  EXPECT_THAT(std::string(client->GetModel({"o/n", "main", ""}).status().message()),
              HasSubstr("redirects more than 5"));
}

TEST(TokenTest, IsNotSentOverPlainHttpToAnotherMachine) {
  const auto sent = [](const char* endpoint) {
    ScriptedHttp http;
    auto client = HubClient::Create(endpoint, {"hf_secret"}, &http);
    const absl::Status status = client->GetModel({"o/n", "main", ""}).status();
    EXPECT_EQ(client->withholds_token(), !http.SentToken(0));
    return http.SentToken(0);
  };
  EXPECT_FALSE(sent("http://hub.example"));
  EXPECT_FALSE(sent("http://192.168.1.2:8080"));
  EXPECT_TRUE(sent("http://127.0.0.1:8080"));
  EXPECT_TRUE(sent("http://localhost"));
  EXPECT_TRUE(sent("https://hub.example"));
  ScriptedHttp http;
  EXPECT_FALSE(HubClient::Create("https://hub.example", {"hf_a\r\nX-Injected: 1"}, &http).ok());
  EXPECT_FALSE(HubClient::Create("hub.example", {""}, &http).ok());
}

TEST(TokenTest, IsFoundWhereThePythonClientKeepsIt) {
  const fs::path folder = fs::path(testing::TempDir()) / absl::StrCat("token_test.", getpid());
  fs::create_directories(folder / ".cache/huggingface");
  std::map<std::string, std::string> environment = {{"HOME", folder.string()}};
  const auto found = [&] {
    const auto token = FindToken([&](const char* name) -> const char* {
      const auto at = environment.find(name);
      return at == environment.end() ? nullptr : at->second.c_str();
    });
    return token.ok() ? token->value + " in " + token->place : std::string(token.status().message());
  };
  const std::string usual = (folder / ".cache/huggingface/token").string();
  EXPECT_EQ(found(), " in HF_TOKEN, nor in " + usual);
  std::ofstream(usual) << "\nhf_usual\r\n";
  EXPECT_EQ(found(), "hf_usual in " + usual);
  environment["HF_HOME"] = "~/home";
  EXPECT_EQ(found(), absl::StrCat(" in HF_TOKEN, nor in ", (folder / "home/token").string()));
  fs::create_directories(folder / "home");
  std::ofstream(folder / "home/token") << "hf_home";
  EXPECT_EQ(found(), "hf_home in " + (folder / "home/token").string());
  environment["HF_TOKEN_PATH"] = (folder / "mine").string();
  std::ofstream(folder / "mine") << "hf_mine";
  EXPECT_EQ(found(), "hf_mine in " + (folder / "mine").string());
  environment["HUGGING_FACE_HUB_TOKEN"] = "hf_old";
  EXPECT_EQ(found(), "hf_old in HUGGING_FACE_HUB_TOKEN");
  environment["HF_TOKEN"] = " hf_new\n";
  EXPECT_EQ(found(), "hf_new in HF_TOKEN");
  environment["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1";
  EXPECT_EQ(found(), " in use: HF_HUB_DISABLE_IMPLICIT_TOKEN is set");
  environment = {{"HF_TOKEN_PATH", (folder / "home").string()}};
  EXPECT_THAT(found(), HasSubstr("home, where the hub's token is kept, cannot be read"));
  environment = {{"HF_TOKEN_PATH", (folder / "long").string()}};
  std::ofstream(folder / "long") << std::string(5000, 'x');
  EXPECT_THAT(found(), HasSubstr("long has more than 4096 bytes"));
  std::ofstream(folder / "long") << " \n";
  EXPECT_EQ(found(), " in HF_TOKEN, nor in " + (folder / "long").string());
  fs::remove_all(folder);
}

TEST(CacheTest, WhereTheEnvironmentHasIt) {
  std::map<std::string, std::string> environment = {{"HOME", "/home/me"}};
  const auto folder = [&] {
    return Cache::FromEnvironment([&](const char* name) -> const char* {
             const auto found = environment.find(name);
             return found == environment.end() ? nullptr : found->second.c_str();
           })
        .folder()
        .string();
  };
  EXPECT_EQ(folder(), "/home/me/.cache/huggingface/hub");
  environment["XDG_CACHE_HOME"] = "/xdg";
  EXPECT_EQ(folder(), "/xdg/huggingface/hub");
  environment["HF_HOME"] = "~/hf";
  EXPECT_EQ(folder(), "/home/me/hf/hub");
  environment["HUGGINGFACE_HUB_CACHE"] = "/old";
  EXPECT_EQ(folder(), "/old");
  environment["HF_HUB_CACHE"] = "/new";
  EXPECT_EQ(folder(), "/new");
  environment["HF_HUB_CACHE"] = "";
  EXPECT_EQ(folder(), "/old") << "set to nothing is not set";
}

TEST(CacheTest, FindModel) {
  const fs::path folder = fs::path(testing::TempDir()) / absl::StrCat("hub_parts_test.", getpid());
  fs::create_directories(folder);
  const Cache cache(folder / "cache");
  const std::string commit(40, 'c');
  EXPECT_EQ(FindModel(folder, cache)->string(), folder.string()) << "what is there stands";
  EXPECT_EQ(FindModel("/no/such/path", cache)->string(), "/no/such/path") << "not the form of a model's name";
  EXPECT_EQ(FindModel("", cache)->string(), "");
  const absl::Status missing = FindModel("org/name", cache).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("fetch it with 'blazon models pull org/name'"));
  fs::create_directories(cache.Snapshot("org/name", commit));
  ASSERT_TRUE(cache.WriteRef("org/name", "main", commit).ok());
  EXPECT_EQ(*FindModel("org/name", cache), cache.Snapshot("org/name", commit));
  EXPECT_EQ(*FindModel("org/name@" + commit, cache), cache.Snapshot("org/name", commit));
  EXPECT_FALSE(FindModel("org/name:absent.gguf", cache).ok());
  std::ofstream(cache.RepositoryFolder("org/name") / "refs/main") << "../../../../etc";
  EXPECT_FALSE(FindModel("org/name", cache).ok()) << "a ref that is no commit leads nowhere";
  fs::remove_all(folder);
}

TEST(BlobFileTest, OneProcessAtATime) {
  const fs::path folder = fs::path(testing::TempDir()) / absl::StrCat("blob_file_test.", getpid());
  const Cache cache(folder);
  ASSERT_TRUE(cache.Prepare("o/n").ok());
  // git hash-object of "hello\n".
  const HubFile file{"a.txt", 6, {ContentDigest::Kind::kGitBlob, "ce013625030ba8dba906f756967f9e9ca394464a"}};
  auto first = BlobFile::Open(cache, "o/n", file, nullptr, nullptr);
  ASSERT_TRUE(first.ok()) << first.status();
  bool waited = false;
  const auto second = BlobFile::Open(
      cache, "o/n", file, [&] { return waited; }, [&] { waited = true; });
  EXPECT_EQ(second.status().code(), absl::StatusCode::kCancelled) << "it must wait for the first";
  ASSERT_TRUE((*first)->Append("hel").ok());
  EXPECT_EQ((*first)->Append("lo and more").code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE((*first)->Append("lo\n").ok());
  ASSERT_TRUE((*first)->Finish().ok());
  first->reset();
  const auto third = BlobFile::Open(cache, "o/n", file, nullptr, nullptr);
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_TRUE((*third)->complete());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace blazon::service::hub
