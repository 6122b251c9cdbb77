//! The stable image of the storefront.

shop_platform::serve!(shop_ui::router(shop_ui::Edition::V1));
