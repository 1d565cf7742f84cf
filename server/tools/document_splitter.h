#ifndef CHELA_SERVER_TOOLS_DOCUMENT_SPLITTER_H_
#define CHELA_SERVER_TOOLS_DOCUMENT_SPLITTER_H_

#include <functional>
#include <string_view>
#include <utility>

namespace chela {

// Splits a text that comes in pieces into documents at lines that hold only
// U+000C (form feed). Such a line is removed with its own newline; the text
// before it keeps its final newline. Constant memory. Owned by one thread.
class DocumentSplitter {
 public:
  // on_text gets the text of the current document, piece by piece, never
  // empty; on_boundary is called where one document ends and the next begins.
  DocumentSplitter(std::function<void(std::string_view)> on_text,
                   std::function<void()> on_boundary)
      : on_text_(std::move(on_text)), on_boundary_(std::move(on_boundary)) {}

  void Push(std::string_view bytes);
  // The end of the text; a last line of U+000C needs no newline.
  void Finish();

 private:
  std::function<void(std::string_view)> on_text_;
  std::function<void()> on_boundary_;
  bool at_line_start_ = true;
  bool held_ = false;  // a form feed at a line's start, so far alone
};

}  // namespace chela

#endif  // CHELA_SERVER_TOOLS_DOCUMENT_SPLITTER_H_
