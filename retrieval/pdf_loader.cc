// PDF by poppler's pdftotext: pages, paragraphs, lines and where each line stands.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "retrieval/child_process.h"
#include "retrieval/format_loaders.h"
#include "retrieval/page_quality.h"
#include "retrieval/picture_text.h"
#include "retrieval/text_builder.h"
#include "retrieval/text_decoder.h"
#include "retrieval/words.h"
#include "retrieval/xml.h"

namespace blazon::retrieval {
namespace {

constexpr double kHeadingHeight = 1.2;          // of the body's lines, what a heading's have at least
constexpr size_t kLongestHeading = 120;         // bytes
constexpr const char* kPicturePixels = "3508";  // long side of a page that is read as a picture: A4 at 300 dpi

struct PdfLine {
  std::string text;
  Box box;
};
using Paragraph = std::vector<PdfLine>;
struct PdfPage {
  std::vector<Paragraph> paragraphs;
  bool read_from_picture = false;
  std::string Text() const {
    std::string text;
    for (const Paragraph& paragraph : paragraphs) {
      for (const PdfLine& line : paragraph) absl::StrAppend(&text, line.text, "\n");
    }
    return text;
  }
};

double Number(const pugi::xml_node& node, std::string_view name) {
  double number = 0;
  return absl::SimpleAtod(std::string(Attribute(node, name)), &number) && std::isfinite(number) ? number : 0;
}

Box BoxOf(const pugi::xml_node& node) {
  const double left = Number(node, "xMin"), top = Number(node, "yMin");
  return {left, top, Number(node, "xMax") - left, Number(node, "yMax") - top};
}

// The lines of a block.
Paragraph ReadBlock(const pugi::xml_node& block) {
  Paragraph paragraph;
  for (const pugi::xml_node& line : block.children()) {
    if (LocalName(line) != "line") continue;
    std::string text;
    for (const pugi::xml_node& word : line.children()) {
      if (LocalName(word) != "word") continue;
      if (!text.empty()) text += ' ';
      text += TextOf(word);
    }
    text = ToCleanUtf8(StripWhitespace(text));
    if (!text.empty()) paragraph.push_back({std::move(text), BoxOf(line)});
  }
  return paragraph;
}

class PdfReader {
 public:
  PdfReader(std::string_view bytes, const LoaderOptions& options) : bytes_(bytes), options_(options) {}

  absl::Status Read(Document& document) {
    absl::StatusOr<std::string> output =
        Run("pdftotext",
            {"-bbox-layout", "-enc", "UTF-8", "-l", absl::StrCat(options_.limits.max_pages + 1), "/dev/stdin", "-"});
    if (!output.ok()) return output.status();
    absl::StatusOr<std::unique_ptr<pugi::xml_document>> xml = ParseXml(*output, "what pdftotext makes of it");
    if (!xml.ok()) return xml.status();
    const pugi::xml_node html = Child(**xml, "html");
    document.title = Title(ToCleanUtf8(StripWhitespace(TextOf(Child(html, "head", "title")))));
    for (const pugi::xml_node& meta : Child(html, "head").children()) {
      if (Attribute(meta, "name") == "Author" && !Attribute(meta, "content").empty())
        document.metadata["author"] = ToCleanUtf8(Attribute(meta, "content"));
    }
    for (const pugi::xml_node& page : Child(html, "body", "doc").children()) {
      if (LocalName(page) != "page") continue;
      PdfPage& read = pages_.emplace_back();
      for (const pugi::xml_node& flow : page.children()) {
        for (const pugi::xml_node& block : flow.children()) {
          Paragraph paragraph = ReadBlock(block);
          if (!paragraph.empty()) read.paragraphs.push_back(std::move(paragraph));
        }
      }
    }
    if (pages_.size() > static_cast<size_t>(options_.limits.max_pages))
      return absl::InvalidArgumentError(absl::StrCat("it has more than ", options_.limits.max_pages, " pages"));
    if (pages_.empty()) return absl::InvalidArgumentError("it has no pages");
    if (absl::Status status = ReadScans(document); !status.ok()) return status;
    Build(document);
    return absl::OkStatus();
  }

 private:
  // The standard output of one of poppler's programs that reads the file.
  absl::StatusOr<std::string> Run(const std::string& name, std::vector<std::string> arguments) const {
    const std::optional<std::string> program = FindProgram(name);
    if (!program) {
      return absl::FailedPreconditionError(absl::StrCat(
          "PDF files are read by ", name, ", which is not installed; install the Debian package poppler-utils"));
    }
    arguments.insert(arguments.begin(), *program);
    absl::StatusOr<ChildOutput> result = RunChild(arguments, bytes_,
                                                  {.memory_bytes = options_.limits.child_memory_bytes,
                                                   .processor_seconds = options_.limits.child_seconds,
                                                   .wall_seconds = 2 * options_.limits.child_seconds});
    if (!result.ok()) return result.status();
    if (result->exit_status == 0) return std::move(result->output);
    if (absl::StrContains(result->errors, "password"))
      return absl::InvalidArgumentError("it is encrypted; save a copy without its password");
    return absl::InvalidArgumentError(
        absl::StrCat("it is a damaged PDF file (", name, " ended with status ", result->exit_status, ")"));
  }

  // Programs write their own name into the title, or the file's.
  static std::string Title(std::string_view title) {
    const std::string lower = absl::AsciiStrToLower(std::string(title));
    for (const char* start : {"microsoft word", "microsoft powerpoint", "untitled", "unknown"}) {
      if (lower.starts_with(start)) return "";
    }
    for (const char* end : {".doc", ".docx", ".indd", ".tex", ".dvi", ".pdf", ".odt", ".ps"}) {
      if (lower.ends_with(end)) return "";
    }
    return std::string(title);
  }

  // Pages without text that have a picture are scans: they are read by tesseract, or reported.
  absl::Status ReadScans(Document& document) {
    std::vector<int> empty;
    for (size_t i = 0; i < pages_.size(); ++i) {
      if (pages_[i].paragraphs.empty()) empty.push_back(static_cast<int>(i + 1));
    }
    if (empty.empty()) return absl::OkStatus();
    std::set<int> with_pictures;
    absl::StatusOr<std::string> list = Run("pdfimages", {"-list", "/dev/stdin"});
    if (!list.ok()) return list.status();
    for (const absl::string_view row : absl::StrSplit(*list, '\n')) {
      const std::vector<absl::string_view> fields = absl::StrSplit(row, ' ', absl::SkipEmpty());
      int page = 0;
      if (!fields.empty() && absl::SimpleAtoi(fields[0], &page)) with_pictures.insert(page);
    }
    std::vector<int> scans;
    std::copy_if(empty.begin(), empty.end(), std::back_inserter(scans),
                 [&](int page) { return with_pictures.contains(page); });
    const bool can_read = options_.read_pictures && CanReadPictures();
    std::vector<int> read, unread;
    for (const int page : scans) {
      const bool done = can_read && read.size() < static_cast<size_t>(options_.limits.max_read_pictures) &&
                        ReadScan(page, pages_[static_cast<size_t>(page - 1)]);
      (done ? read : unread).push_back(page);
    }
    if (!read.empty()) {
      document.warnings.push_back(
          absl::StrCat(PageList(read), read.size() == 1 ? " was" : " were", " read from a picture, by tesseract"));
    }
    if (unread.empty()) return absl::OkStatus();
    const std::string scan = absl::StrCat(PageList(unread), unread.size() == 1 ? " is a scan" : " are scans");
    const bool nothing =
        std::all_of(pages_.begin(), pages_.end(), [](const PdfPage& p) { return p.paragraphs.empty(); });
    if (!nothing) {
      document.warnings.push_back(absl::StrCat(scan, ": there is a picture and no text"));
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("it holds no text: ", scan,
                     can_read ? ", and tesseract reads nothing in the picture"
                              : "; install the Debian package tesseract-ocr, which reads the letters in pictures"));
  }

  // False: there is nothing to read in it.
  bool ReadScan(int number, PdfPage& page) const {
    const std::string at = absl::StrCat(number);
    absl::StatusOr<std::string> picture =
        Run("pdftoppm", {"-gray", "-scale-to", kPicturePixels, "-f", at, "-l", at, "/dev/stdin"});
    if (!picture.ok()) return false;
    absl::StatusOr<std::string> text = ReadPicture(*picture, options_.limits);
    if (!text.ok() || text->empty()) return false;
    for (const absl::string_view paragraph : absl::StrSplit(*text, "\n\n")) {
      Paragraph& lines = page.paragraphs.emplace_back();
      for (const absl::string_view line : absl::StrSplit(paragraph, '\n')) lines.push_back({std::string(line), {}});
    }
    page.read_from_picture = true;
    return true;
  }

  // The height that most characters have.
  double BodyHeight() const {
    std::map<int, size_t> characters;  // by height in half points
    for (const PdfPage& page : pages_) {
      for (const Paragraph& paragraph : page.paragraphs) {
        for (const PdfLine& line : paragraph) {
          if (!line.box.empty()) characters[static_cast<int>(std::min(line.box.height, 1e6) * 2)] += line.text.size();
        }
      }
    }
    const auto most = std::max_element(characters.begin(), characters.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == characters.end() ? 0 : most->first / 2.0;
  }

  // "inter-" "national" is one word.
  static bool Joins(std::string_view line, std::string_view next) {
    return line.size() > 1 && line.back() == '-' &&
           absl::ascii_isalpha(static_cast<unsigned char>(line[line.size() - 2])) &&
           absl::ascii_islower(static_cast<unsigned char>(next.front()));
  }

  void Build(Document& document) {
    TextBuilder builder;
    HeadingStack headings;
    const double body = BodyHeight();
    std::map<std::string_view, std::vector<int>> faults;
    for (size_t i = 0; i < pages_.size(); ++i) {
      const PdfPage& page = pages_[i];
      if (page.paragraphs.empty()) continue;
      if (const std::string_view fault = PageFault(page.Text()); !fault.empty())
        faults[fault].push_back(static_cast<int>(i + 1));
      builder.Break(2);
      document.places.push_back({builder.text().size(), absl::StrCat("page=", i + 1)});
      for (const Paragraph& paragraph : page.paragraphs) {
        builder.Break(2);
        const size_t begin = builder.text().size();
        for (size_t line = 0; line < paragraph.size(); ++line) {
          const size_t line_begin = builder.text().size();
          std::string_view text = paragraph[line].text;
          const bool last = line + 1 == paragraph.size();
          const bool joins = !last && Joins(text, paragraph[line + 1].text);
          if (joins) text.remove_suffix(1);
          builder.Add(text);
          if (!paragraph[line].box.empty())
            document.regions.push_back({{line_begin, builder.text().size()}, paragraph[line].box});
          if (!last && !joins) builder.Add(" ");
        }
        const std::string text = builder.text().substr(begin);
        const double height = paragraph.front().box.height;
        const bool has_letter =
            std::any_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isalpha(c) || c >= 0x80; });
        if (body > 0 && height >= kHeadingHeight * body && paragraph.size() <= 2 && text.size() <= kLongestHeading &&
            text.size() > 1 && has_letter) {
          builder.StartSectionAt(begin, headings.Push(height >= 1.6 * body ? 1 : 2, text));
          if (i == 0 && document.title.empty()) document.title = text;
        }
      }
    }
    builder.Break(1);
    builder.MoveTo(document);
    for (const auto& [fault, pages] : faults) {
      std::string words(fault);
      if (pages.size() > 1) words = words.starts_with("has ") ? absl::StrCat("have", words.substr(3)) : words;
      document.warnings.push_back(absl::StrCat(PageList(pages), " ", words));
    }
  }

  const std::string_view bytes_;
  const LoaderOptions& options_;
  std::vector<PdfPage> pages_;
};

}  // namespace

absl::Status LoadPdf(std::string_view bytes, const LoaderOptions& options, Document& document) {
  return PdfReader(bytes, options).Read(document);
}

}  // namespace blazon::retrieval
