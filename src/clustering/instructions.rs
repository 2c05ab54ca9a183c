use fearless_simd::Level;

/// Vector instructions of a processor. The results are the same bits.
#[derive(Clone, Copy, Debug)]
pub struct Instructions(Level);

impl Default for Instructions {
    fn default() -> Self {
        Self(Level::new())
    }
}

impl Instructions {
    /// Those that this processor has, by name, the best first.
    #[must_use]
    pub fn available() -> Vec<(&'static str, Self)> {
        let level = Level::new();
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let known = [
            ("avx512", level.as_avx512().map(Level::Avx512)),
            ("avx2", level.as_avx2().map(Level::Avx2)),
            ("sse4.2", level.as_sse4_2().map(Level::Sse4_2)),
            ("sse2", level.as_sse2().map(Level::Sse2)),
        ];
        #[cfg(target_arch = "aarch64")]
        let known = [("neon", level.as_neon().map(Level::Neon))];
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let known = [("plain", Some(level))];
        known
            .into_iter()
            .filter_map(|(name, level)| Some((name, Self(level?))))
            .collect()
    }

    pub(super) fn level(self) -> Level {
        self.0
    }
}
