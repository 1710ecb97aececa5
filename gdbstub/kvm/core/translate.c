/* Stage-1 translation of the EL1&0 regime, as aarch64/mmu.py does it, for formats in common use.
 *
 * What needs FEAT_LPA or FEAT_LPA2, big-endian tables and what does not translate are left to that.
 * Source: Arm ARM D8.2 "Translation process". */
#include "core.h"

#define BIT(n) (1ul << (n))
#define LAST 3
#define SCTLR_M BIT(0)
#define SCTLR_EE BIT(25)
#define TCR_DS BIT(59)

static const unsigned pa_bits[8] = {32, 36, 40, 42, 44, 48, 0, 0}; /* by TCR_EL1.IPS */
/* log2 of the granule, by TCR_EL1.TG0 and TG1. */
static const unsigned tg0[4] = {12, 16, 14, 0}, tg1[4] = {0, 14, 12, 16};

/* Read RAM past lines that the guest, with its caches off, has written behind. */
int ram_read(const struct ram *ram, int uncached, uint64_t ipa, void *to, size_t length)
{
    uint64_t offset = ipa - ram->base;

    if (offset >= ram->size || length > ram->size - offset)
        return 1;
    if (uncached && memory_clean(ram->hva + offset, length))
        return 1;
    return memory_read(to, ram->hva + offset, length);
}

int translate(const struct ram *ram, const struct regime *regime, uint64_t gva, uint64_t *ipa)
{
    uint64_t tcr = regime->tcr, upper = gva >> 55 & 1, ignored = tcr >> (37 + upper) & 1;

    if (!(regime->sctlr & SCTLR_M)) {
        *ipa = ignored ? gva & (BIT(56) - 1) : gva;
        return *ipa - ram->base >= ram->size;
    }
    unsigned granule = upper ? tg1[tcr >> 30 & 3] : tg0[tcr >> 14 & 3], stride = granule - 3;
    if (!granule || regime->sctlr & SCTLR_EE || tcr & TCR_DS || tcr & BIT(upper ? 23 : 7))
        return 1;
    unsigned size = tcr >> (upper ? 16 : 0) & 0x3f, bits = 64 - size;
    unsigned output_bits = pa_bits[tcr >> 32 & 7];
    if (size < 16 || size > (granule == 16 ? 47 : 48) || !output_bits)
        return 1;
    uint64_t ones = BIT((ignored ? 56 : 64) - bits) - 1;
    if ((gva >> bits & ones) != (upper ? ones : 0))
        return 1;

    int level = LAST + 1 - (int)((bits - granule + stride - 1) / stride);
    unsigned index_bits = bits - granule - (LAST - level) * stride;
    uint64_t ttbr = regime->ttbr[upper];
    uint64_t table = ttbr & (BIT(48) - BIT(index_bits + 3));
    if (granule == 16 && ttbr & 0x3c)
        return 1;
    for (;; level++) {
        unsigned shift = granule + (LAST - level) * stride;
        uint64_t descriptor, entry = gva >> shift & (BIT(index_bits) - 1);
        if (table >> output_bits ||
            ram_read(ram, regime->uncached, table + 8 * entry, &descriptor, 8))
            return 1;
        if (granule == 16 && descriptor & 0xf000)
            return 1;
        if ((descriptor & 3) == 3 && level < LAST) {
            table = descriptor & (BIT(48) - BIT(granule));
            index_bits = stride;
            continue;
        }
        int blocks = level == 2 || (level == 1 && granule == 12);
        int leaf = (descriptor & 3) == (level == LAST ? 3 : 1) && (level == LAST || blocks);
        *ipa = (descriptor & (BIT(48) - BIT(shift))) | (gva & (BIT(shift) - 1));
        return !leaf || *ipa >> output_bits || *ipa - ram->base >= ram->size;
    }
}
