// The table of the functions above.
namespace carat::cpu::CARAT_CPU_TARGET {
namespace {

#define CARAT_STRING_OF(x) #x
#define CARAT_STRING(x) CARAT_STRING_OF(x)

constexpr KernelTable kTable = {
    CARAT_STRING(CARAT_CPU_TARGET),
    kChunkRows,
    kUnpacksTiles,
    kChunkVectors,
    prepare,
    linear,
    gated,
    quantize,
    norm,
    add_norm,
    embed,
    query_head,
    key_head,
    attention_scratch,
    attend,
    merge,
    finish,
    finish_quantized,
    evaluate,
    peak_dots,
    read_stream,
};

}  // namespace
}  // namespace carat::cpu::CARAT_CPU_TARGET
