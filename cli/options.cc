#include "cli/options.h"

#include <charconv>
#include <cmath>
#include <iterator>
#include <system_error>

#include "backend/cpu/isa.h"
#include "cli/command.h"
#include "cli/default_model.h"
#include "cli/interrupt.h"
#include "fmt/format.h"
#include "model/quantization_plan.h"

namespace carat::cli {
namespace {

// All of `text` as a number, or nothing.
template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

std::string range_text(int64_t least, int64_t most) {
  return most == std::numeric_limits<int64_t>::max()
             ? fmt::format("of at least {}", least)
             : fmt::format("from {} to {}", least, most);
}

CLI::Validator chunk_size() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        const auto value = parse_number<int64_t>(text);
        if (text == "auto" || (value && *value >= 1)) return {};
        return fmt::format(
            "'{}' is neither 'auto' nor a whole number of at least 1", text);
      },
      "");
}

}  // namespace

CLI::Validator whole_number(int64_t least, int64_t most) {
  return CLI::Validator(
      [least, most](std::string& text) -> std::string {
        const auto value = parse_number<int64_t>(text);
        if (value && *value >= least && *value <= most) return {};
        return fmt::format("'{}' is not a whole number {}", text,
                           range_text(least, most));
      },
      "");
}

CLI::Validator real_number(double least, double most, bool open) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        const auto value = parse_number<double>(text);
        if (value && std::isfinite(*value) &&
            (open ? *value > least : *value >= least) && *value <= most) {
          return {};
        }
        return fmt::format(
            "'{}' is not a number {} {}{}", text, open ? "above" : "from",
            least,
            std::isfinite(most)
                ? fmt::format(" {} {}", open ? "up to" : "to", most)
            : open ? ""
                   : " upwards");
      },
      "");
}

std::vector<int64_t> parse_numbers(std::string_view subject,
                                   std::string_view text, int64_t least) {
  constexpr std::string_view kSeparators = ", \t\r\n[]";
  std::vector<int64_t> values;
  for (size_t begin = text.find_first_not_of(kSeparators);
       begin != std::string_view::npos;
       begin = text.find_first_not_of(kSeparators, begin)) {
    const size_t end =
        std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view item = text.substr(begin, end - begin);
    const auto value = parse_number<int64_t>(item);
    if (!value || *value < least) {
      throw UsageError(fmt::format(
          "{}: '{}' is not a whole number {}", subject, item.substr(0, 40),
          range_text(least, std::numeric_limits<int64_t>::max())));
    }
    values.push_back(*value);
    begin = end;
  }
  return values;
}

std::vector<int32_t> parse_token_ids(std::string_view subject,
                                     std::string_view text) {
  std::vector<int32_t> ids;
  for (const int64_t value : parse_numbers(subject, text)) {
    if (value > std::numeric_limits<int32_t>::max()) {
      throw UsageError(fmt::format("{}: {} is no token id", subject, value));
    }
    ids.push_back(static_cast<int32_t>(value));
  }
  return ids;
}

void add_model_flag(CLI::App& app, std::string& model) {
  app.add_option("--model", model,
                 "GGUF file, Hugging Face or MLX folder, or a model that carat "
                 "pull fetched; without it, the default model that ./demo.sh "
                 "fetches")
      ->option_text("PATH");
}

void add_engine_flags(CLI::App& app, EngineFlags& flags) {
  std::vector<std::string> isas = {"auto"};
  isas.insert(isas.end(), std::begin(cpu::kIsaNames), std::end(cpu::kIsaNames));
  add_model_flag(app, flags.model);
  app.add_option("--backend", flags.backend,
                 "auto (cuda if there is a device for it, else cpu), cpu, "
                 "cuda, or reference (plain f32, slow)")
      ->check(CLI::IsMember({"auto", "cpu", "cuda", "reference"}))
      ->option_text("NAME [auto]");
  app.add_option("--device", flags.device,
                 "Which CUDA device, from 0; the first one without it")
      ->check(whole_number(0, 1023))
      ->option_text("N");
  app.add_option("--isa", flags.isa,
                 fmt::format("Instruction set of the cpu backend: {}; the "
                             "answer is the same",
                             fmt::join(isas, ", ")))
      ->check(CLI::IsMember(isas))
      ->option_text("NAME [auto]");
  app.add_option("--threads", flags.threads,
                 "Threads; 0: all processors this process may use")
      ->check(whole_number(0, 1024))
      ->option_text("N [0]");
  app.add_option("--context", flags.context,
                 "Most tokens a sequence can have; without it the model's own "
                 "limit, or what fits the device's memory")
      ->check(whole_number(1))
      ->option_text("N");
  app.add_option("--quantize", flags.quantize,
                 fmt::format("Quantise F32, F16 and BF16 weights to this type "
                             "while loading, as carat quantize would: {}; "
                             "without it, to 8 bits",
                             fmt::join(quantization_names(), ", ")))
      ->check(CLI::IsMember(quantization_names()))
      ->option_text("TYPE");
}

std::unique_ptr<Engine> load_engine(const EngineFlags& flags) {
  ProgressBar bar("Loading", ProgressBar::Unit::kBytes);
  EngineOptions options;
  options.backend = flags.backend;
  options.device = flags.device;
  options.isa = flags.isa;
  options.threads = flags.threads;
  options.pin_threads = true;
  options.context_tokens = flags.context;
  options.quantize = flags.quantize;
  options.on_load = [&bar](int64_t done, int64_t total) {
    bar.update(done, total);
    return !interrupted();
  };
  return Engine::load(resolve_model(flags.model), options);
}

void add_prefill_flags(CLI::App& app, PrefillFlags& flags) {
  app.add_option("--prefill", flags.mode,
                 "chunked, or full: the whole prompt at once with the logits "
                 "of every position, for comparison")
      ->check(CLI::IsMember({"chunked", "full"}))
      ->option_text("MODE [chunked]");
  app.add_option("--chunk", flags.chunk,
                 "Prompt tokens per chunk, or auto; the answer is the same")
      ->check(chunk_size())
      ->option_text("N [auto]");
}

PrefillOptions prefill_options(const PrefillFlags& flags, ProgressBar& bar) {
  PrefillOptions options;
  options.mode =
      flags.mode == "full" ? PrefillMode::kFull : PrefillMode::kChunked;
  options.chunk_tokens = parse_number<int64_t>(flags.chunk);  // none: auto
  options.on_progress = [&bar](int64_t done, int64_t total) {
    bar.update(done, total);
    return !interrupted();
  };
  return options;
}

}  // namespace carat::cli
